"""Figures for papers, drawn with matplotlib: SVG, PDF and PNG without a browser on the server.

Same numbers and colours as `csegsynth_core.figures`; sizes are those of a journal column (88 mm) or a page
(180 mm). Charts of the pages are in `static_charts`, slices in `static_brains`. Text stays text: fonts are
embedded in PDF (TrueType) and left as text in SVG.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from csegsynth_core.errors import CSegSynthError
from csegsynth_core.figures.slices import View
from csegsynth_core.figures.trajectory import (
    OUTSIDE,
    PANELS,
    Line,
    Reference,
    has_centiles,
    legend_bands,
    outside_spans,
    shade,
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

_RC: Final[dict[str, Any]] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that every machine draws the same
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
_SYMBOLS: Final = (*(("o", True), ("D", False), ("s", True), ("^", False), ("P", True), ("v", False)),)
_LETTERS: Final = "#DCE6F0"
_LONG_TITLE: Final = 18  # characters that a panel's title has room for
INK: Final = "#1B2530"
GREY: Final = "#8A97A6"
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
    entries = len(lines) + 1 + len(legend_bands(lines, behind))
    across = min(len(volumes), (4 if len(volumes) % 5 else 5) if wide else 2)
    down = -(-len(volumes) // across)
    height_mm = down * (33.0 if wide else 31.0) + 13.0 + (1.7 if wide else 3.4) * entries

    def draw(figure: Any) -> None:
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
            for k, one in enumerate(lines):
                rows = one.data[one.data["volume"] == volume].sort_values("age")
                curve = one.curve[one.curve["volume"] == volume]
                own = shade(colour, k)
                ax.fill_between(
                    rows["age"], rows["draws_low"], rows["draws_high"], color=own, alpha=0.17, lw=0
                )
                ax.fill_between(curve["age"], curve["ci_low"], curve["ci_high"], color=own, alpha=0.4, lw=0)
                ax.plot(curve["age"], curve["fit"], color=own, lw=0.9, ls=_DASHES[k % len(_SYMBOLS)])
                symbol, filled = _SYMBOLS[k % len(_SYMBOLS)]
                face = own if filled else "none"
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
        _key(figure, lines, behind, bool(spans), note, wide)

    return saved(draw, form, width_mm, height_mm)


def strip_file(
    pictures: Sequence[tuple[str, Sequence[NDArray[np.float32]]]],
    ages: Sequence[float],
    *,
    one: View | None = None,
    form: str = "png",
    age_units: str = "years",
    width_mm: float = PAGE_MM,
    note: str = "",
) -> bytes:
    """A filmstrip as a file: one row for each scenario, one brain slice for each age.

    Args:
        pictures: (name of the row, (rows, columns, 3) colours in [0, 1] for each age).
        one: how the slices lie; the first of each row has letters at its sides.

    Raises:
        CSegSynthError: unknown form, or a row has not one picture for each age.
    """
    for name, row in pictures:
        if len(row) != len(ages):
            raise CSegSynthError(f"filmstrip {name!r}", expected=f"{len(ages)} pictures", got=str(len(row)))
    tall, across = pictures[0][1][0].shape[:2]
    height_mm = width_mm / len(ages) * tall / across * len(pictures) + 12

    def draw(figure: Any) -> None:
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
                    ax.set_title(f"{ages[j]:g}", pad=2)
                if j == 0:
                    ax.set_ylabel(name)
                    if one is not None:
                        side_letters(ax, one)
        samples = [Patch(color=t.colour, label=t.bids) for t in ALL]
        figure.legend(handles=samples, loc="outside lower left", ncols=3, frameon=False)
        figure.suptitle(f"Age ({age_units})", fontsize=6.5)
        if note:
            figure.supxlabel(note, fontsize=6, x=0.99, ha="right")

    return saved(draw, form, width_mm, height_mm)


def _key(
    figure: Any, lines: Sequence[Line], reference: Reference | None, outside: bool, note: str, wide: bool
) -> None:
    """Legend below the panels; bands carry their full names."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for k, one in enumerate(lines):
        symbol, filled = _SYMBOLS[k % len(_SYMBOLS)]
        look: dict[str, Any] = {
            "color": INK,
            "ls": _DASHES[k % len(_SYMBOLS)],
            "lw": 0.9,
            "marker": symbol,
            "ms": 2.4,
            "mew": 0.5,
        }
        handles.append(Line2D([], [], label=one.name, mfc=INK if filled else "none", **look))
    bands = legend_bands(lines, reference)
    alphas = {"ci": 0.5, "spread": 0.22}
    handles += [Patch(color=INK, alpha=alphas[k], lw=0, label=t) for k, t in bands.items() if k in alphas]
    if "centiles" in bands:
        handles.append(Patch(color="#8A97A6", alpha=0.35, lw=0, label=bands["centiles"]))
    if outside:
        handles.append(Patch(color="#D9822B", alpha=0.3, lw=0, label=OUTSIDE))
    legend = figure.legend(
        handles=handles,
        loc="outside lower left",
        ncols=2 if wide else 1,
        frameon=False,
        handlelength=2.2,
        borderaxespad=1.7 if note else 0.5,
    )
    legend.set_in_layout(True)
    if note:
        figure.get_layout_engine().set(rect=(0, 0.02, 1, 0.98))  # room between the panels and the legend
        figure.text(0.995, 0.004, note, fontsize=6, ha="right", va="bottom", color="#5A6672")


def side_letters(ax: Any, one: View) -> None:
    """Orientation letters at the four sides of a slice."""
    left, right, bottom, top = one.letters
    for text, x, y, ha, va in (
        *((left, 0.02, 0.5, "left", "center"), (right, 0.98, 0.5, "right", "center")),
        *((bottom, 0.5, 0.015, "center", "bottom"), (top, 0.5, 0.985, "center", "top")),
    ):
        look = {"color": _LETTERS, "fontsize": 6.5, "fontweight": "bold", "transform": ax.transAxes}
        ax.text(x, y, text, ha=ha, va=va, **look)


def saved(
    draw: Callable[[Any], None],
    form: str,
    width_mm: float,
    height_mm: float,
    *,
    layout: Literal["constrained"] | None = "constrained",
) -> bytes:
    """Draw on a figure of that size and save it.

    Args:
        draw: told the matplotlib figure.
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

    out = io.BytesIO()
    with _LOCK, mpl.rc_context(_RC):  # type: ignore[arg-type]
        figure = Figure(figsize=(width_mm / 25.4, height_mm / 25.4), layout=layout)
        draw(figure)
        when = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[form]
        figure.savefig(
            out, format=form, dpi=DPI, metadata={"Creator": "CSegSynth"} | when if form != "png" else {}
        )
    return out.getvalue()
