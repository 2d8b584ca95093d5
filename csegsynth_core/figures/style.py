"""What all figures share."""

from __future__ import annotations

from typing import Final

FONT: Final = "Source Sans, Source Sans Pro, Helvetica, Arial, sans-serif"
