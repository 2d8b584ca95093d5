"""What all figures share."""

from __future__ import annotations

from typing import Final

SUM_COLOUR: Final = "#8A97A6"
"""Of WM + GM + CSF, beside the tissues' own colours."""
FONT: Final = "Source Sans, Source Sans Pro, Helvetica, Arial, sans-serif"
