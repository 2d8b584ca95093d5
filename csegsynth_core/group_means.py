"""Mean maps of groups of training people beside the mean of their generated brains, as a pack carries them.

A pack holds no real person's scan. What it can hold is the mean of many people's maps: `group_means.png` has, for
each group, slices of the mean of the real maps and of the mean of one generated brain of each of the same people; its
red, green and blue are the fractions of WM, GM and CSF. `group_means.json` says what lies where.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from csegsynth_core import grid
from csegsynth_core.errors import PackError
from csegsynth_core.pack import Pack
from csegsynth_core.tissue import TISSUES

PICTURE: Final = "group_means.png"
LAYOUT: Final = "group_means.json"
CUTS: Final[tuple[tuple[int, ...], ...]] = (
    tuple(39 + 7 * k for k in range(-4, 5)),
    tuple(68 + 9 * k for k in range(-4, 5)),
    tuple(60 + 7 * k for k in range(-4, 5)),
)
"""Voxels along x, y and z at which slices are kept."""
FEWEST: Final = 5
"""Fewest people in a group: fewer would not be a mean."""

STEP: Final = 3
"""Fractions are rounded to so many 255ths, which makes the picture smaller."""

_TILE: Final = max(s.stop - s.start for s in grid.BOX)
_KINDS: Final = ("real", "model")

Maps = NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """Some training people."""

    label: str
    """As people read it, such as `female, under 40`."""
    people: int


@dataclass(frozen=True, eq=False)
class GroupMeans:
    """Mean maps of groups, on the slices of `CUTS` alone."""

    groups: tuple[Group, ...]
    tiles: NDArray[np.uint8]
    """(groups, 2, 3 planes, 9 cuts, 104, 104, 3)."""

    @classmethod
    def of(cls, groups: Sequence[Group], real: Sequence[Maps], model: Sequence[Maps]) -> GroupMeans:
        """From mean maps (3, 80, 128, 128) of each group.

        Raises:
            ValueError: a group of fewer than `FEWEST` people.
        """
        small = [g.label for g in groups if g.people < FEWEST]
        if small:
            raise ValueError(f"expected {FEWEST} people or more in every group, {small[0]} has fewer")
        tiles = np.zeros((len(groups), 2, 3, len(CUTS[0]), _TILE, _TILE, 3), np.uint8)
        for g, pair in enumerate(zip(real, model, strict=True)):
            for kind, maps in enumerate(pair):
                inside = (STEP * np.rint(np.clip(maps[(slice(None), *grid.BOX)], 0, 1) * 255 / STEP)).astype(
                    np.uint8
                )
                for axis, cuts in enumerate(CUTS):
                    for n, cut in enumerate(cuts):
                        plane = np.take(inside, cut - grid.BOX[axis].start, axis=axis + 1)
                        tiles[g, kind, axis, n, : plane.shape[1], : plane.shape[2]] = np.moveaxis(
                            plane, 0, -1
                        )
        return cls(tuple(groups), tiles)

    def maps(self, group: int, kind: Literal["real", "model"]) -> Maps:
        """(3, 80, 128, 128) fractions, 0 off the kept slices."""
        out = np.zeros((len(TISSUES), *grid.SHAPE), np.float32)
        for axis, cuts in enumerate(CUTS):
            rest = [b for k, b in enumerate(grid.BOX) if k != axis]
            high, wide = (s.stop - s.start for s in rest)
            for n, cut in enumerate(cuts):
                tile = self.tiles[group, _KINDS.index(kind), axis, n, :high, :wide]
                where: list[Any] = list(rest)
                where.insert(axis, cut)
                out[(slice(None), *where)] = np.moveaxis(tile, -1, 0) / np.float32(255)
        return out

    def files(self) -> dict[str, bytes]:
        """What a pack carries."""
        groups, kinds, planes, cuts = self.tiles.shape[:4]
        sheet = self.tiles.transpose(0, 1, 2, 4, 3, 5, 6).reshape(
            groups * kinds * planes * _TILE, cuts * _TILE, 3
        )
        out = io.BytesIO()
        Image.fromarray(sheet).save(out, "PNG", optimize=True)
        layout = {
            "description": "Means of tissue fractions over people: red WM, green GM, blue CSF, 255 = 1. Rows: for "
            "each group the real people's mean, then the mean of a generated brain of each; for each of these "
            "sagittal, coronal and axial slices. Columns: cuts.",
            "groups": [asdict(g) for g in self.groups],
            "kinds": list(_KINDS),
            "cuts": [list(c) for c in CUTS],
            "tile": _TILE,
        }
        return {PICTURE: out.getvalue(), LAYOUT: (json.dumps(layout, indent=1) + "\n").encode()}

    @classmethod
    def read(cls, pack: Pack) -> GroupMeans | None:
        """Those of a pack; None if it has none.

        Raises:
            PackError: they are damaged or laid out as another version does.
        """
        if PICTURE not in pack.about["files"]:
            return None
        payload, layout = pack.payload(PICTURE), json.loads(pack.payload(LAYOUT))
        groups = tuple(Group(str(g["label"]), int(g["people"])) for g in layout["groups"])
        shape = (len(groups), 2, 3, _TILE, len(CUTS[0]), _TILE, 3)
        sheet = np.asarray(Image.open(io.BytesIO(payload)).convert("RGB"))
        if layout["cuts"] != [list(c) for c in CUTS] or sheet.size != int(np.prod(shape)):
            raise PackError(
                f"{PICTURE} of pack {pack.name} is of another version",
                expected=f"{len(CUTS[0])} slices of each plane",
                got=f"a picture of {sheet.shape[1]}×{sheet.shape[0]}",
                fix="make it again with `python -m train group_means`",
            )
        return cls(groups, sheet.reshape(shape).transpose(0, 1, 2, 4, 3, 5, 6))
