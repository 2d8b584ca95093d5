"""What all figures share."""

from __future__ import annotations

from typing import Any, Final

from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import BY_NAME, TISSUES

SUM_COLOUR: Final = "#8A97A6"
"""Of WM + GM + CSF, beside the tissues' own colours."""
FONT: Final = "Source Sans, Source Sans Pro, Helvetica, Arial, sans-serif"
FITTED: Final[dict[str, Any]] = {"visible": False, "fixedrange": True, "constrain": "domain"}
"""Axis of pictures whose place is fitted to their shape. By default Plotly widens ranges instead, and keeps them:
when a wide window becomes narrow, pictures would be drawn smaller and smaller."""
_OTHER: Final = "#5B7F95"
_REGIONS: Final = {r.name: r for r in REGIONS}


def named(volume: str) -> tuple[str, str]:
    """Title and colour of a tissue, a region or the sum of tissues; other names stay as they are."""
    if volume in BY_NAME:
        return BY_NAME[volume].bids, BY_NAME[volume].colour
    if volume in _REGIONS:
        return _REGIONS[volume].title, BY_NAME[_REGIONS[volume].tissue].colour
    if volume == "+".join(TISSUES):
        return volume.upper(), SUM_COLOUR
    return volume.replace("_", " "), _OTHER
