"""The three tissues, their order in arrays, their names in files and their colours on screen.

Arrays of maps have shape (4, 80, 128, 128) with channels in the order of `CHANNELS`, or (3, …) in the
order of `TISSUES`. Address them by name (`index("gm")`), never by a number: FSL FAST, dipy and BIDS
all use other orders.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Tissue:
    """One tissue class."""

    name: str
    """Key used in code and tables: `wm`, `gm` or `csf`."""
    bids: str
    """BIDS label: `WM`, `GM`, `CSF`."""
    title: str
    """Full name for people."""
    colour: str
    """Hex colour, colour-blind safe (Okabe–Ito), the same everywhere."""
    dseg: int
    """Value in a `dseg.nii.gz` written by us (BIDS order: 1 GM, 2 WM, 3 CSF)."""


WM: Final = Tissue("wm", "WM", "white matter", "#E69F00", 2)
GM: Final = Tissue("gm", "GM", "grey matter", "#009E73", 1)
CSF: Final = Tissue("csf", "CSF", "cerebrospinal fluid", "#0072B2", 3)

ALL: Final[tuple[Tissue, ...]] = (WM, GM, CSF)
TISSUES: Final[tuple[str, ...]] = tuple(t.name for t in ALL)
BACKGROUND: Final = "background"
CHANNELS: Final[tuple[str, ...]] = (*TISSUES, BACKGROUND)
BY_NAME: Final[dict[str, Tissue]] = {t.name: t for t in ALL}


def index(name: str) -> int:
    """Channel of tissue `name` (`wm`, `gm`, `csf` or `background`).

    Raises:
        KeyError: the name is not a channel.
    """
    try:
        return CHANNELS.index(name)
    except ValueError:
        raise KeyError(f"no tissue {name!r}: expected one of {', '.join(CHANNELS)}") from None
