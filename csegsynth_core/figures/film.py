"""One brain at many ages: a filmstrip, and a scrubber that runs in the browser alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from PIL import Image

from csegsynth_core import grid
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.figures.slices import (
    CENTRE,
    PLANES,
    Display,
    Plane,
    View,
    Voxel,
    difference_limit,
    side_letters,
    slice_rgb,
    view,
)
from csegsynth_core.figures.style import FITTED, FONT
from csegsynth_core.generate import Brain
from csegsynth_core.tissue import ALL, BY_NAME, TISSUES, index

Pictures = NDArray[np.float32]
"""Colours in [0, 1], (rows, columns, 3)."""

FILM_AT: Final[Voxel] = (39, 68, 68)
"""Voxel whose axial plane a filmstrip shows: through the lateral ventricles."""

_NEUROLOGICAL: Final = Display()
_GAP: Final = 3  # voxels between planes
_ZOOM: Final = 3
_TEXT: Final = "#C9D3DE"
_WARN: Final = "#F0A04B"
ODD: Final = "◇"
"""Marks a picture of somebody with whom few or no training people of that age and sex go."""
ODD_SAID: Final = "few or no training people of that age and sex are like that"
"""What the mark says."""
_XY: Final = {"xref": "x", "yref": "y"}


@dataclass(frozen=True, eq=False)
class Frame:
    """One age of a film; small enough to keep many (2 MB)."""

    age: float
    """years"""
    packed: NDArray[np.uint8]
    """(3, 80, 104, 80) fractions of WM, GM and CSF in `grid.BOX`, in steps of 1/255: enough for pictures."""
    volumes_ml: dict[str, float]
    trained: bool = True
    """Whether the age is within the training range."""
    unusual: tuple[str, ...] = ()
    """Labels of the features whose values few or no training people of that age and sex have."""

    @classmethod
    def of(cls, brain: Brain, age: float, *, trained: bool = True) -> Frame:
        """A frame of a generated brain."""
        packed = np.rint(255 * brain.maps[(slice(None), *grid.BOX)]).astype(np.uint8)
        return cls(age, packed, brain.volumes_ml, trained)

    @property
    def maps(self) -> NDArray[np.float32]:
        """(3, 80, 128, 128) fractions, rounded to 1/255."""
        out = np.zeros((len(TISSUES), *grid.SHAPE), np.float32)
        out[(slice(None), *grid.BOX)] = self.packed / np.float32(255)
        return out


def film_slices(
    frames: Sequence[Frame],
    plane: Plane = "axial",
    at: Voxel = FILM_AT,
    *,
    display: Display = _NEUROLOGICAL,
    mode: str = "tissues",
    change: bool = False,
) -> list[Pictures]:
    """One plane of every frame; with `change` the difference of tissue `mode` from the first frame."""
    one = view(plane, display)
    first = frames[0].maps if change else None
    limit = change_limit(frames, mode) if change else None
    return [slice_rgb(f.maps, one, at[one.through], mode=mode, baseline=first, limit=limit) for f in frames]


def change_limit(frames: Sequence[Frame], mode: str) -> float:
    """End of the symmetric colour scale of differences from the first frame, in fraction."""
    k = index(mode)
    return difference_limit(frames[-1].maps[k] - frames[0].maps[k])


@dataclass(frozen=True, eq=False)
class Strip:
    """What a filmstrip shows: one row for each scenario, one slice for each age."""

    rows: Sequence[tuple[str, Sequence[Pictures]]]
    """Name of the row and one picture for each age (all of one size)."""
    ages: Sequence[float]
    trained: Sequence[bool] = ()
    """Whether each age is within the training range; nothing: all are."""
    unusual: Sequence[Sequence[Sequence[str]]] = ()
    """For each row and age `Frame.unusual`; nothing: none is."""
    side: View = field(default_factory=lambda: view("axial", _NEUROLOGICAL))
    """How the slices lie; the first of each row has letters at its sides."""

    def __post_init__(self) -> None:
        """Raises CSegSynthError where a row has not one picture for each age, or `trained` not one value."""
        n = len(self.ages)
        if len(self.known) != n:
            raise CSegSynthError("trained ages", expected=f"{n} values", got=str(len(self.known)))
        for name, row in self.rows:
            if len(row) != n:
                raise CSegSynthError(f"filmstrip {name!r}", expected=f"{n} pictures", got=str(len(row)))

    @classmethod
    def of(cls, films: Mapping[str, Sequence[Frame]], display: Display = _NEUROLOGICAL) -> Strip:
        """The axial slices of each scenario's frames, which are of the same ages."""
        last = list(films.values())[-1]
        return cls(
            [(way, film_slices(frames, display=display)) for way, frames in films.items()],
            [f.age for f in last],
            [f.trained for f in last],
            [[f.unusual for f in frames] for frames in films.values()],
            view("axial", display),
        )

    @property
    def known(self) -> list[bool]:
        """Whether each age is within the training range."""
        return list(self.trained) or [True] * len(self.ages)

    def odd(self, row: int, age: int) -> Sequence[str]:
        """Why a picture's person is unusual: labels of features."""
        return self.unusual[row][age] if self.unusual else ()


def strip_figure(strip: Strip, *, age_units: str = "years") -> go.Figure:
    """A filmstrip; ages outside the training range are marked, and pictures of unusual people."""
    rows, ages = strip.rows, strip.ages
    cropped = _cropped([picture for _, row in rows for picture in row])
    pictures = [
        np.concatenate(cropped[i * len(ages) : (i + 1) * len(ages)], axis=1) for i in range(len(rows))
    ]
    tall, across = pictures[0].shape[:2]
    n = len(rows)
    images, notes = [], []
    for i, picture in enumerate(pictures):
        images.append(
            {"source": _webp(picture), "xref": "x", "yref": "y", "x": 0, "y": n - i, "sizey": 1}
            | {"sizex": len(ages), "sizing": "stretch", "layer": "below"}
        )
        notes.append(_text(f"<b>{rows[i][0]}</b>", -0.05, n - i - 0.5, "right", "middle", 12))
        notes += side_letters(strip.side, _XY, (0, 1, n - i - 1, n - i), size=10, over=True)
        for j in range(len(ages)):
            if labels := strip.odd(i, j):
                mark = _text(ODD, j + 0.97, n - i - 0.02, "right", "top", 13, _WARN)
                notes.append(mark | {"hovertext": f"{', '.join(labels)}: {ODD_SAID}"})
    for j, (age, known) in enumerate(zip(ages, strip.known, strict=True)):
        text = f"{age:g} {age_units}" if j == 0 else f"{age:g}"
        notes.append(
            _text(
                text if known else f"{text} ⚠", j + 0.5, 0.0, "center", "top", 12, _TEXT if known else _WARN
            )
        )
    layout = _bare() | {
        "images": images,
        "annotations": notes,
        "xaxis": FITTED | {"range": [-1.25, len(ages) + 0.1]},
        "yaxis": FITTED
        | {"range": [-0.2, n]}
        | {"scaleanchor": "x", "scaleratio": tall / across * len(ages)},
    }
    empty = {"type": "scatter", "x": [0], "y": [0], "mode": "markers", "marker": {"opacity": 0}}
    return go.Figure({"data": [empty | {"hoverinfo": "skip"}], "layout": layout})


def _cropped(pictures: Sequence[Pictures], margin: int = 3) -> list[Pictures]:
    """Pictures of one size cut to what is not black in any of them, and a margin in voxels."""
    seen = np.max([p.max(axis=2) for p in pictures], axis=0) > 0.02
    spans = []
    for axis in (0, 1):
        there = np.flatnonzero(seen.any(axis=1 - axis))
        low, high = (there[0], there[-1] + 1) if len(there) else (0, seen.shape[axis])
        spans.append(slice(max(int(low) - margin, 0), int(high) + margin))
    return [p[spans[0], spans[1]] for p in pictures]


def morph_figure(
    frames: Sequence[Frame],
    at: Voxel = CENTRE,
    *,
    display: Display = _NEUROLOGICAL,
    mode: str = "tissues",
    change: bool = False,
    age_units: str = "years",
    title: str = "",
    height: int = 470,
) -> go.Figure:
    """Three planes through `at` with a slider over ages and a play button; no server is asked while it runs.

    Every frame is a picture made beforehand. Letters, and a key to the colours, as in `planes_figure`.

    Args:
        frames: by rising age.
        mode: `tissues`, or the name of a tissue.
        change: show the difference of tissue `mode` from the first frame.
        title: a few words, such as the scenario.
    """
    planes = [film_slices(frames, p, at, display=display, mode=mode, change=change) for p in PLANES]
    tall = max(p[0].shape[0] for p in planes)
    montage = []
    for n in range(len(frames)):
        parts = []
        for p in planes:
            parts.append(np.pad(p[n], ((0, tall - p[n].shape[0]), (0, _GAP), (0, 0))))
        montage.append(np.concatenate(parts, axis=1)[:, :-_GAP])
    width = montage[0].shape[1]
    sources = [_webp(m) for m in montage]
    place = {"xref": "x", "yref": "y", "x": 0, "y": tall, "sizex": width, "sizey": tall}
    place |= {"sizing": "stretch", "layer": "below"}
    notes, left = [], 0
    for name, p in zip(PLANES, planes, strict=True):
        h, w = p[0].shape[:2]
        notes += side_letters(view(name, display), _XY, (left, left + w, tall - h, tall))
        left += w + _GAP
    notes.append(
        _text(_key(mode, change_limit(frames, mode) if change else None), 1, 2, "left", "bottom", 12)
    )

    def said(frame: Frame) -> str:
        text = f"<b>{frame.age:g} {age_units}</b>  {title}"
        text += "  " + "  ".join(f"{t.bids} {frame.volumes_ml[t.name]:.0f}" for t in ALL) + " mL"
        odd = ["⚠ outside the training ages"] * (not frame.trained)
        odd += [f"{ODD} unusual: {', '.join(frame.unusual)}"] * bool(frame.unusual)
        return text + "".join(f'  <span style="color:{_WARN}">{words}</span>' for words in odd)

    def caption(frame: Frame) -> dict[str, Any]:
        return _text(said(frame), width / 2, tall + 3, "center", "bottom", 15, "#FFFFFF")

    def layout_of(n: int) -> dict[str, Any]:
        return {"images": [place | {"source": sources[n]}], "annotations": [*notes, caption(frames[n])]}

    now = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    run = now | {"frame": {"duration": 90, "redraw": True}, "fromcurrent": True}
    steps = [
        {"label": f"{f.age:g}", "method": "animate", "args": [[f"{n}"], now]} for n, f in enumerate(frames)
    ]
    layout = _bare() | layout_of(0)
    layout |= {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 6, "b": 74},
        "xaxis": FITTED | {"range": [0, width]},
        "yaxis": FITTED | {"range": [0, tall + 12]} | {"scaleanchor": "x", "scaleratio": 1},
        "sliders": [
            {"active": 0, "steps": steps, "x": 0.09, "len": 0.9, "y": 0, "pad": {"t": 12, "b": 4}}
            | {"currentvalue": {"visible": False}, "font": {"color": _TEXT, "size": 11}, "ticklen": 4}
            | {
                "bgcolor": "#2C3743",
                "activebgcolor": "#5FB3CE",
                "bordercolor": "#3A4756",
                "tickcolor": "#5A6672",
            }
        ],
        "updatemenus": [
            {"type": "buttons", "direction": "left", "x": 0.0, "y": 0, "xanchor": "left", "yanchor": "top"}
            | {"pad": {"t": 14}, "showactive": False, "bgcolor": "#1C242D", "bordercolor": "#3A4756"}
            | {"font": {"color": "#E8EDF2", "size": 12}}
            | {
                "buttons": [
                    {"label": "▶", "method": "animate", "args": [None, run]},
                    {"label": "❚❚", "method": "animate", "args": [[None], now]},
                ]
            }
        ],
    }
    empty = {"type": "scatter", "x": [0], "y": [0], "mode": "markers", "marker": {"opacity": 0}}
    return go.Figure(
        {
            "data": [empty | {"hoverinfo": "skip"}],
            "layout": layout,
            "frames": [{"name": f"{n}", "layout": layout_of(n)} for n in range(len(frames))],
        }
    )


def _key(mode: str, limit: float | None) -> str:
    if limit is not None:
        name = BY_NAME[mode].title
        return (
            f'Δ fraction of {name} from the first age: <span style="color:#2F8FE8">■ −{limit:g}</span>  '
            f'<span style="color:#EE6A3C">■ +{limit:g}</span>'
        )
    shown = ALL if mode == "tissues" else (BY_NAME[mode],)
    return "   ".join(f'<span style="color:{t.colour}">■</span> {t.bids} {t.title}' for t in shown)


def _text(text: str, x: float, y: float, xa: str, ya: str, size: int, colour: str = _TEXT) -> dict[str, Any]:
    return {
        "text": text, "x": x, "y": y, "xref": "x", "yref": "y", "xanchor": xa, "yanchor": ya,
        "showarrow": False, "font": {"size": size, "color": colour}, "borderpad": 2,
    }  # fmt: skip


def _bare() -> dict[str, Any]:
    return {
        "paper_bgcolor": "#000000",
        "plot_bgcolor": "#000000",
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "font": {"family": FONT, "color": _TEXT},
        "showlegend": False,
        "dragmode": False,
        "hovermode": False,
    }


def _webp(rgb: Pictures) -> str:
    """Data address of a picture, enlarged for smooth edges."""
    image = Image.fromarray(np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8))
    image = image.resize((image.width * _ZOOM, image.height * _ZOOM), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=88, method=2)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
