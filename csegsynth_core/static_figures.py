"""Figures for papers, drawn with matplotlib: SVG, PDF and PNG without a browser on the server.

Same numbers and colours as `csegsynth_core.figures`; sizes are those of a journal column (88 mm) or a page
(180 mm). Charts of the pages are in `static_charts`, slices in `static_brains`. Text stays text: fonts are
embedded in PDF (TrueType) and left as text in SVG. Its width is measured, so that notes, titles and keys are wrapped
where the paper ends, and the figure grows by their lines.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from csegsynth_core.errors import CSegSynthError
from csegsynth_core.figures.film import ODD, ODD_SAID, Strip
from csegsynth_core.figures.slices import View
from csegsynth_core.figures.trajectory import (
    OUTSIDE,
    PANELS,
    SAMPLE,
    Line,
    Reference,
    has_centiles,
    legend_bands,
    looks,
    outside_spans,
    shown_volumes,
)

COLUMN_MM: Final = 88.0
PAGE_MM: Final = 180.0
DPI: Final = 300
FORMATS: Final[dict[str, str]] = {
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "png": "image/png",
}
"""File ending → media type."""

_FONT: Final = "DejaVu Sans"  # comes with matplotlib, so that every machine draws the same
_RC: Final[dict[str, Any]] = {
    "font.family": _FONT,
    "text.parse_math": False,  # names may hold dollar signs
    "font.size": 6.5,
    "axes.titlesize": 7,
    "axes.labelsize": 6.5,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "axes.linewidth": 0.5,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "svg.fonttype": "none",
    "svg.hashsalt": "csegsynth",
    "pdf.fonttype": 42,
    "hatch.linewidth": 0.4,
}
_DASHES: Final = (
    *("-", (0, (4, 1.6)), (0, (1, 1.2)), (0, (4, 1.2, 1, 1.2))),
    *((0, (7, 1.6)), (0, (2, 1.2))),
)
_SYMBOLS: Final = ("o", "s", "D", "^", "P", "v")
_LETTERS: Final = "#DCE6F0"
_LONG_TITLE: Final = 18  # characters that a panel's title has room for
INK: Final = "#1B2530"
GREY: Final = "#8A97A6"
_NOTE: Final = "#5A6672"
_WARN: Final = "#B3560B"
SMALL: Final = 6.0
"""Size of notes, keys and ticks, points."""
EDGE_MM: Final = 0.5
_SPARE: Final = 1.015  # hinted text is a little wider than its outlines
_LINE: Final = 1.17  # height of a line in sizes of its font
_KEY: Final[dict[str, Any]] = {
    **{"handlelength": 2.2, "handletextpad": 0.8, "borderpad": 0.4},
    **{"borderaxespad": 0.5, "columnspacing": 2.0, "labelspacing": 0.5},
}
"""Spaces in a key, in sizes of its font."""
_PNG_LEVEL: Final = 4  # pictures are a few per cent larger than at 6, and written in half the time
_together: ContextVar[dict[str, bytes] | None] = ContextVar("together", default=None)
_LOCK: Final = threading.Lock()  # matplotlib's settings are one set for all threads


def trajectory_file(
    lines: Sequence[Line],
    reference: Reference | None = None,
    *,
    form: str = "svg",
    trained: tuple[float, float] = (-np.inf, np.inf),
    unit: str = "ml",
    age_units: str = "years",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """The trajectory figure as a file: two panels in a row on a journal column, four or five on a page.

    Args:
        lines, reference, trained, unit, note: as for `csegsynth_core.figures.trajectory_figure`.
        form: `svg`, `pdf` or `png` (300 dpi).
        width_mm: 88 for a column, 180 for a page.

    Raises:
        CSegSynthError: unknown form.
    """
    wide = width_mm > 1.5 * COLUMN_MM
    volumes = shown_volumes(lines)
    behind = reference if unit == "ml" and has_centiles(lines, reference) else None
    across = min(len(volumes), (4 if len(volumes) % 5 else 5) if wide else 2)
    down = -(-len(volumes) // across)
    height_mm = down * (33.0 if wide else 31.0) + 8.0

    def draw(figure: Any) -> list[Any]:
        panels = figure.subplots(down, across, sharex=True, squeeze=False)
        spans = outside_spans(lines, trained)
        for ax in panels.flat[len(volumes) :]:
            ax.set_visible(False)
        for n, volume in enumerate(volumes):
            title, colour = PANELS[volume]
            ax = panels.flat[n]
            ax.spines[["top", "right"]].set_visible(False)
            for a, b in spans:
                ax.axvspan(a, b, color="#D9822B", alpha=0.16, lw=0, zorder=0)
            if behind is not None:
                rows = behind.data[behind.data["volume"] == volume].sort_values("age")
                ax.fill_between(rows["age"], rows["c5"], rows["c95"], color="#8A97A6", alpha=0.18, lw=0)
                ax.fill_between(rows["age"], rows["c25"], rows["c75"], color="#8A97A6", alpha=0.22, lw=0)
                ax.plot(rows["age"], rows["c50"], color="#8A97A6", lw=0.7)
            for look, one in zip(looks(lines), lines, strict=True):
                rows = one.data[one.data["volume"] == volume].sort_values("age")
                curve = one.curve[one.curve["volume"] == volume]
                own = look.colour(colour)
                ax.fill_between(
                    rows["age"], rows["draws_low"], rows["draws_high"], color=own, alpha=0.17, lw=0
                )
                ax.fill_between(curve["age"], curve["ci_low"], curve["ci_high"], color=own, alpha=0.4, lw=0)
                ax.plot(curve["age"], curve["fit"], color=own, lw=0.9, ls=_DASHES[look.dash])
                symbol, face = _SYMBOLS[look.symbol], own if look.filled else "none"
                ax.plot(rows["age"], rows["value"], symbol, ms=1.7, mfc=face, mec=own, mew=0.5, clip_on=False)
            name = title.split(",")[0]
            if len(name) > _LONG_TITLE:
                name = name.replace(" and ", "\nand ")
            ax.set_title(name, loc="left", color=colour, fontweight="bold", pad=3)
            if n % across == 0:
                ax.set_ylabel("Volume (mL)" if unit == "ml" else "Change from\nfirst age (%)")
            if n + across >= len(volumes):
                ax.set_xlabel(f"Age ({age_units})")
                ax.xaxis.set_tick_params(labelbottom=True)
        return _samples(lines, behind, bool(spans))

    return saved(draw, form, width_mm, height_mm, note=note, columns=2 if wide else 1)


def strip_file(
    strip: Strip,
    *,
    form: str = "png",
    age_units: str = "years",
    width_mm: float = PAGE_MM,
    note: str = "",
) -> bytes:
    """A filmstrip as a file; marked as `figures.strip_figure` marks it.

    Raises:
        CSegSynthError: unknown form.
    """
    pictures, ages, known = strip.rows, strip.ages, strip.known
    tall, across = pictures[0][1][0].shape[:2]
    height_mm = width_mm / len(ages) * tall / across * len(pictures) + 8
    odd = sorted({label for row in strip.unusual for labels in row for label in labels})
    lines = [
        note,
        *([] if all(known) else [f"⚠: {OUTSIDE}, where the model extrapolates"]),
        *([f"{ODD}: {ODD_SAID} ({', '.join(odd)})"] if odd else []),
    ]

    def draw(figure: Any) -> list[Any]:
        from matplotlib.patches import Patch

        from csegsynth_core.tissue import ALL

        panels = figure.subplots(len(pictures), len(ages), squeeze=False)
        for i, (name, row) in enumerate(pictures):
            for j, picture in enumerate(row):
                ax = panels[i, j]
                ax.imshow(np.clip(picture, 0, 1), interpolation="lanczos")
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
                if i == 0:
                    look = {} if known[j] else {"color": _WARN}
                    ax.set_title(f"{ages[j]:g}" + ("" if known[j] else " ⚠"), pad=2, **look)
                if strip.odd(i, j):
                    ax.text(0.97, 0.97, ODD, transform=ax.transAxes, ha="right", va="top", color=_WARN)
                if j == 0:
                    ax.set_ylabel(name)
                    side_letters(ax, strip.side)
        figure.suptitle(f"Age ({age_units})", fontsize=6.5)
        return [Patch(color=t.colour, label=t.bids) for t in ALL]

    return saved(draw, form, width_mm, height_mm, note="\n".join(t for t in lines if t), columns=3)


def _samples(lines: Sequence[Line], reference: Reference | None, outside: bool) -> list[Any]:
    """What the key shows; bands carry their full names."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for look, one in zip(looks(lines), lines, strict=True):
        own = look.colour(SAMPLE)
        drawn: dict[str, Any] = {"color": own, "ls": _DASHES[look.dash], "marker": _SYMBOLS[look.symbol]}
        drawn |= {"lw": 0.9, "ms": 2.4, "mew": 0.5, "mfc": own if look.filled else "none"}
        handles.append(Line2D([], [], label=one.name, **drawn))
    bands = legend_bands(lines, reference)
    alphas = {"ci": 0.5, "spread": 0.22}
    handles += [Patch(color=INK, alpha=alphas[k], lw=0, label=t) for k, t in bands.items() if k in alphas]
    if "centiles" in bands:
        handles.append(Patch(color="#8A97A6", alpha=0.35, lw=0, label=bands["centiles"]))
    if outside:
        handles.append(Patch(color="#D9822B", alpha=0.3, lw=0, label=OUTSIDE))
    return handles


def side_letters(ax: Any, one: View) -> None:
    """Orientation letters at the four sides of a slice."""
    left, right, bottom, top = one.letters
    for text, x, y, ha, va in (
        *((left, 0.02, 0.5, "left", "center"), (right, 0.98, 0.5, "right", "center")),
        *((bottom, 0.5, 0.015, "center", "bottom"), (top, 0.5, 0.985, "center", "top")),
    ):
        look = {"color": _LETTERS, "fontsize": 6.5, "fontweight": "bold", "transform": ax.transAxes}
        ax.text(x, y, text, ha=ha, va=va, **look)


@lru_cache(4096)
def text_mm(text: str, size: float = SMALL, *, bold: bool = False) -> float:
    """Width on paper in mm of one line of text of a size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    look = FontProperties(family=_FONT, weight="bold" if bold else "normal", size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, look, ismath=False)
    return _SPARE * float(width) / 72 * 25.4


def lines_mm(text: str, size: float = SMALL) -> float:
    """Height on paper in mm of lines of text of a size in points; 0 without text."""
    return (text.count("\n") + 1) * _LINE * size / 72 * 25.4 if text else 0.0


def wrapped(text: str, room_mm: float, size: float = SMALL) -> str:
    """Text in lines no wider than the room on paper; a word that is wider is broken.

    Args:
        size: of the font, points.
    """
    out = []
    for part in text.splitlines():
        line = ""
        for word in part.split(" "):
            longer = f"{line} {word}" if line else word
            if line and text_mm(longer, size) > room_mm:
                out.append(line)
                longer = word
            line = longer
            while len(line) > 1 and text_mm(line, size) > room_mm:
                n = max(_fitting(line, room_mm, size), 1)
                out.append(line[:n])
                line = line[n:]
        out.append(line)
    return "\n".join(out)


def shortened(text: str, room_mm: float, size: float = SMALL) -> str:
    """Text on one line no wider than the room on paper, with … where something is missing."""
    if text_mm(text, size) <= room_mm:
        return text
    return text[: _fitting(text, room_mm - text_mm("…", size), size)].rstrip() + "…"


def _fitting(text: str, room_mm: float, size: float) -> int:
    """How many of the first characters fit."""
    return next((n for n in range(len(text), 0, -1) if text_mm(text[:n], size) <= room_mm), 0)


def heading(figure: Any, text: str) -> None:
    """A title over all panels; `text` is wrapped, and the figure taller by `heading_mm`."""
    figure.suptitle(text, fontsize=7, x=0.01, ha="left")


def heading_mm(text: str) -> float:
    """Height of `heading` in mm."""
    return lines_mm(text, 7) + 1.2 if text else 0.0


def bar_title(text: str, width_mm: float) -> str:
    """Title of a colour bar in lines that fit a figure of that width."""
    return wrapped(text, width_mm - 2 * EDGE_MM - 5.0, 6.5)


def bar_mm(title: str) -> float:
    """Height in mm of a colour bar with its title and ticks."""
    return 6.7 + lines_mm(title, 6.5)


def colour_bar(
    figure: Any,
    top_mm: float,
    colours: NDArray[np.floating],
    ticks: Sequence[tuple[float, str]],
    title: str,
    width_mm: float,
) -> None:
    """A colour bar at the left of a figure, `bar_mm` high.

    Args:
        top_mm: where it begins, from the top of the paper.
        colours: (n, 3) in [0, 1], from the first tick to the last.
        ticks: value and what is written there, the ends first and last.
        title: as from `bar_title`.
    """
    high = 25.4 * figure.get_size_inches()[1]
    left = EDGE_MM + max(2.0, text_mm(ticks[0][1]) / 2)
    down = top_mm + 0.2 + lines_mm(title, 6.5) + 2.2
    wide = min(34.0, width_mm / 3)
    ax = figure.add_axes((left / width_mm, 1 - down / high, wide / width_mm, 2.2 / high), in_layout=False)
    ax.imshow(colours[None], aspect="auto", extent=(ticks[0][0], ticks[-1][0], 0, 1))
    ax.set(yticks=[])
    ax.set_xticks([at for at, _ in ticks], [said for _, said in ticks])
    ax.tick_params(length=1.5, pad=1)
    ax.set_title(title, loc="left", pad=2.5, fontsize=6.5, color=INK)


def _key(labels: Sequence[str], width_mm: float, columns: int) -> tuple[list[str], int, float]:
    """Wrapped labels of a key, its columns (those that make it least tall) and its height in mm."""
    em = SMALL / 72 * 25.4
    sides = 2 * (_KEY["borderaxespad"] + _KEY["borderpad"])
    found = []
    for n in range(1, columns + 1):
        room = (width_mm / em - sides - (n - 1) * _KEY["columnspacing"]) / n
        room -= _KEY["handlelength"] + _KEY["handletextpad"]
        broken = [wrapped(t, room * em) for t in labels]
        each = -(-len(labels) // n)
        tallest = max(sum(map(lines_mm, broken[k : k + each])) for k in range(0, len(labels), each))
        found.append((broken, n, tallest + em * ((each - 1) * _KEY["labelspacing"] + sides)))
    return min(found, key=lambda one: one[2])


def saved(
    draw: Callable[[Any], Sequence[Any] | None],
    form: str,
    width_mm: float,
    height_mm: float,
    *,
    note: str = "",
    columns: int = 1,
    layout: Literal["constrained"] | None = "constrained",
) -> bytes:
    """Draw on a figure of that size and save it, with a key and a note below, which make it taller.

    Args:
        draw: told the matplotlib figure; gives the samples of the key with their labels, if there is one.
        height_mm: without key and note.
        note: wrapped to the width.
        columns: of the key, at most.
        layout: matplotlib's; None leaves axes where they were put.
        form: `svg`, `pdf` or `png` (300 dpi).

    Raises:
        CSegSynthError: unknown form.
    """
    if form not in FORMATS:
        raise CSegSynthError(
            "unknown form of a figure", expected=f"one of {', '.join(FORMATS)}", got=repr(form)
        )
    import matplotlib as mpl
    from matplotlib.figure import Figure

    said = wrapped(note, width_mm - 4 * EDGE_MM)
    below = lines_mm(said) + 2 * EDGE_MM if said else 0.0
    with _LOCK, mpl.rc_context(_RC):  # type: ignore[arg-type]
        size = (width_mm / 25.4, (height_mm + below) / 25.4)
        figure: Any = Figure(figsize=size, dpi=DPI, layout=layout)
        samples = draw(figure)
        key = 0.0
        if samples:
            labels, columns, key = _key([str(s.get_label()) for s in samples], width_mm, columns)
        tall = height_mm + below + key
        figure.set_size_inches(width_mm / 25.4, tall / 25.4)
        if samples:
            look = _KEY | {"ncols": columns, "frameon": False, "fontsize": SMALL}
            # matplotlib leaves out what is called "_…": names come later.
            legend = figure.legend(
                samples, ["?"] * len(labels), loc="lower left", bbox_to_anchor=(0, below / tall), **look
            )
            for text, label in zip(legend.get_texts(), labels, strict=True):
                text.set_text(label)
        if said:
            x, y = 2 * EDGE_MM / width_mm, EDGE_MM / tall
            figure.text(x, y, said, fontsize=SMALL, ha="left", va="bottom", color=_NOTE)
        if layout is not None:
            taken = (below + key) / tall
            figure.get_layout_engine().set(rect=(0, taken, 1, 1 - taken))
            _settle(figure)
        together = _together.get()
        found = {one: _written(figure, one) for one in (FORMATS if together is not None else (form,))}
    if together is not None:
        together.update(found)
    return found[form]


@contextmanager
def every_form() -> Iterator[dict[str, bytes]]:
    """A figure that is saved in here in one form is drawn once and saved in all: form → content."""
    found: dict[str, bytes] = {}
    token = _together.set(found)
    try:
        yield found
    finally:
        _together.reset(token)


def _written(figure: Any, form: str) -> bytes:
    """A figure as a file of that form."""
    out = io.BytesIO()
    more: dict[str, dict[str, Any]] = {
        "svg": {"metadata": {"Creator": "CSegSynth", "Date": None}},
        "pdf": {"metadata": {"Creator": "CSegSynth", "CreationDate": None}},
        "png": {"pil_kwargs": {"compress_level": _PNG_LEVEL}},
    }
    figure.savefig(out, format=form, dpi=DPI, **more[form])
    return out.getvalue()


def _settle(figure: Any) -> None:
    """Lay axes out once, to a millionth of the figure.

    The layout's solver orders its constraints by their addresses in memory, so that its last
    digits differ from call to call: with them, one figure in twenty would be another file.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        ax.set_position([round(v, 6) for v in ax.get_position(original=True).bounds])
