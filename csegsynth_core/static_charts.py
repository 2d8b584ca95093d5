"""The pages' charts for papers: the same numbers and colours as `csegsynth_core.figures`; see `static_figures`.

All take `form` (`svg`, `pdf` or `png` at 300 dpi), `width_mm` (88 for a column, 180 for a page) and `note` (a line
below the figure), give the file's content, and raise `CSegSynthError` for an unknown form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from csegsynth_core import measured
from csegsynth_core.data.cohort_summary import CohortSummary, Histogram
from csegsynth_core.figures.centiles import AXIS, VolumeRow
from csegsynth_core.figures.cohort import PERSON_COLOUR, SEX_COLOURS, WITHHELD, stub_of
from csegsynth_core.figures.influence import InfluenceBar
from csegsynth_core.figures.measured import ACROSS
from csegsynth_core.figures.style import named
from csegsynth_core.static_figures import (
    COLUMN_MM,
    GREY,
    INK,
    heading,
    heading_mm,
    saved,
    shortened,
    text_mm,
    wrapped,
)
from csegsynth_core.tissue import BY_NAME

_MARKS: Final = ("o", "s", "D", "^", "P", "X")
_DASHES: Final = ("-", (0, (4, 1.6)), (0, (1, 1.2)))
_BAR: Final = "#A9B4C2"
_STUB: Final[dict[str, Any]] = {"hatch": "////////", "alpha": 0.55, "ec": "white", "lw": 0}
_HATCHED: Final = f"*, hatched: {WITHHELD}"


def volumes_file(
    rows: Sequence[VolumeRow],
    *,
    spread_name: str = "",
    who: str = "",
    baseline: str = "baseline",
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """Volumes among the centiles of people alike, with the baseline and the spread over draws.

    Args:
        rows: as for `figures.centile_figure`.
        spread_name: what the spread of the rows is.
        who: whose centiles these are: `among women aged 48 (curves of 60)`.
        baseline: what the baseline is called.
    """
    names = [wrapped(row.name, 0.25 * width_mm, 6.5) for row in rows]

    def draw(figure: Any) -> list[Any]:
        panels = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
        for ax, row, name in zip(panels, rows, names, strict=True):
            c5, c25, c50, c75, c95 = row.centiles
            ax.barh(0, c95 - c5, left=c5, height=0.5, color=GREY, alpha=0.28, lw=0)
            ax.barh(0, c75 - c25, left=c25, height=0.5, color=GREY, alpha=0.42, lw=0)
            ax.plot([c50, c50], [-0.36, 0.36], color="#66758A", lw=1.0)
            if row.spread:
                ax.plot(row.spread, [-0.42, -0.42], color=row.colour, lw=1.2, solid_capstyle="butt")
            ax.plot([row.baseline_ml], [0], "o", mfc="none", mec=INK, ms=4, mew=0.8)
            ax.plot([row.ml], [0], "o", color=row.colour, mec=INK, ms=4, mew=0.5)
            points = [*row.centiles, row.ml, row.baseline_ml, *(row.spread or ())]
            pad = 0.08 * (max(points) - min(points)) or 1.0
            ax.set(ylim=(-0.55, 0.45), yticks=[], xlim=(min(points) - pad, max(points) + pad))
            ax.set_ylabel(name, rotation=0, ha="right", va="center", color=INK)
            ax.spines[["top", "right", "left"]].set_visible(False)
            ax.locator_params(axis="x", nbins=6)
            ax.tick_params(pad=1.5)
        panels[-1].set_xlabel(AXIS)
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        handles: list[Any] = [
            Line2D([], [], ls="", marker="o", color=GREY, mec=INK, ms=4, mew=0.5, label="this person"),
            Line2D([], [], ls="", marker="o", mfc="none", mec=INK, ms=4, mew=0.8, label=baseline),
            Patch(color=GREY, alpha=0.4, lw=0, label=f"centiles 5–95, 25–75, median {who}".strip()),
        ]
        if any(row.spread for row in rows):
            handles.append(Line2D([], [], color=INK, lw=1.2, label=spread_name))
        return handles

    columns = 1 if width_mm < 1.5 * COLUMN_MM else 2
    return saved(draw, form, width_mm, 11.0 * len(rows) + 6.0, note=note, columns=columns)


def influence_file(
    bars: Sequence[InfluenceBar],
    *,
    colour: str,
    axis: str,
    title: str = "",
    band: str = "",
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """Signed bars of how much each feature moves a volume; arguments as for `figures.influence_figure`.

    Args:
        title: whose volume, and of whom.
    """
    panels = [[b for b in bars if not b.is_contrast], [b for b in bars if b.is_contrast]]
    panels = [p for p in panels if p]
    titles = [axis if not p[0].is_contrast else "mL, contrast between two levels" for p in panels]
    mixed = len({b.unit for b in bars}) > 1
    titles = [wrapped(t, 0.5 * width_mm, 6.5) for t in titles]
    head = wrapped(title, 0.98 * width_mm, 7)
    height = 3.6 * len(bars) + sum(9.0 + 2.7 * t.count("\n") for t in titles) + heading_mm(head)
    room = 0.45 * width_mm

    def named_on_paper(bar: InfluenceBar) -> str:
        unit = f" ({bar.unit.removeprefix('mL ')})" if mixed and not bar.is_contrast else ""
        unit = shortened(unit, 0.5 * room)
        return shortened(bar.label, room - text_mm(unit)) + unit

    def draw(figure: Any) -> None:
        shares = [len(p) + 0.4 for p in panels]
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=shares)[:, 0]
        for ax, panel, label in zip(axes, panels, titles, strict=True):
            where = np.arange(len(panel))
            look: dict[str, Any] = {"hatch": "//////", "ec": "white"} if panel[0].is_contrast else {}
            ax.barh(where, [b.value for b in panel], height=0.66, color=colour, lw=0, **look)
            known = [(n, b) for n, b in enumerate(panel) if np.isfinite(b.low)]
            if known:
                ax.errorbar(
                    [(b.low + b.high) / 2 for _, b in known],
                    [n for n, _ in known],
                    xerr=[(b.high - b.low) / 2 for _, b in known],
                    **{"fmt": "none", "ecolor": INK, "elinewidth": 0.7, "capsize": 1.4, "capthick": 0.7},
                )
            ax.set_yticks(where, [named_on_paper(b) for b in panel])
            ax.set(ylim=(len(panel) - 0.4, -0.6))
            ax.set_xlabel(label)
            ax.axvline(0, color=INK, lw=0.5)
            ax.tick_params(axis="y", length=0)
            ax.spines[["top", "right", "left"]].set_visible(False)
        if head:
            heading(figure, head)

    return saved(draw, form, width_mm, height, note=_lines(f"Whiskers: {band}" if band else "", note))


def scenarios_file(
    table: pd.DataFrame, *, form: str = "svg", width_mm: float = COLUMN_MM, note: str = ""
) -> bytes:
    """Volumes of scenarios, mean over draws ± their standard deviation.

    Args:
        table: as from `compare.compared`.
    """
    names = list(dict.fromkeys(table["scenario"]))
    measures = list(dict.fromkeys(table["measure"]))
    wide = width_mm > 1.5 * COLUMN_MM
    columns = min(4, len(measures)) if wide else 1
    lines = -(-len(measures) // columns)
    height = ((4.2 * len(names) + 12) if wide else (3.6 * len(names) + 7.5)) * lines
    draws = int(table["draws"].iloc[0])

    def draw(figure: Any) -> None:
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for ax in panels[len(measures) :]:
            ax.set_visible(False)
        for n, (ax, measure) in enumerate(zip(panels, measures, strict=False)):
            part = table[table["measure"] == measure]
            title, colour = named(measure)
            spread = np.nan_to_num(part["sd_draws_ml"].to_numpy(float))
            for row, (mean, sd) in enumerate(zip(part["mean_ml"], spread, strict=True)):
                ax.errorbar(
                    *([mean], [row]),
                    xerr=[sd],
                    **{
                        "fmt": _MARKS[row % len(_MARKS)],
                        "color": colour,
                        "ms": 3.2,
                        "lw": 0.8,
                        "capsize": 1.6,
                    },
                )
            ax.set(ylim=(len(names) - 0.5, -0.5))
            ax.set_title(
                title,
                loc="left",
                color=colour,
                fontweight="bold",
                pad=2,
                fontsize=7 if len(title) < 18 else 6,
            )
            shown = names if n % columns == 0 else [""] * len(names)
            ax.set_yticks(range(len(names)), [shortened(s, 34.0) for s in shown])
            ax.grid(axis="y", color=GREY, alpha=0.2, lw=0.4)
            ax.tick_params(axis="y", length=0)
            ax.locator_params(axis="x", nbins=5)
            ax.spines[["top", "right"]].set_visible(False)
            if n + columns >= len(measures):
                ax.set_xlabel("Volume (mL)")

    return saved(draw, form, width_mm, height, note=_lines(f"Mean ± 1 SD over {draws} latent draws", note))


def distribution_file(
    row: Mapping[str, Any],
    histogram: Histogram | None,
    *,
    person: bool = True,
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """A numeric feature among training people; see `figures.distribution_figure`."""
    label = wrapped(_with_unit(row), 0.8 * width_mm, 6.5)
    said = "Line: 1st–99th centile; thick: mean ± 1 SD; |: median; ◆: this person"
    said += f"; {_HATCHED}" if histogram is not None and None in histogram.counts else ""
    height = (37.0 if histogram else 19.0) + 2.7 * label.count("\n")

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        top = 1.0
        if histogram is not None and histogram.edges:
            edges = np.asarray(histogram.edges)
            counts = [c or 0 for c in histogram.counts]
            top = float(max(counts) or 1)
            ax.bar(edges[:-1], counts, np.diff(edges), align="edge", color=_BAR, ec="white", lw=0.4)
            stub = stub_of(histogram.counts)
            for low, high, count in zip(edges[:-1], edges[1:], histogram.counts, strict=True):
                if count is None:
                    ax.bar(low, stub, high - low, align="edge", color=_BAR, **_STUB)
                    _above(ax, (low + high) / 2, stub, "*")
            ax.set_ylabel("People")
            ax.yaxis.get_major_locator().set_params(integer=True)
            ax.spines[["top", "right"]].set_visible(False)
        else:
            ax.set_yticks([])
            ax.spines[["top", "right", "left"]].set_visible(False)
        y = -0.16 * top
        ax.plot([row["centile1"], row["centile99"]], [y, y], color="#66758A", lw=0.8)
        ends = [row["mean"] - row["sd"], row["mean"] + row["sd"]]
        ax.plot(ends, [y, y], color="#66758A", lw=3, solid_capstyle="butt")
        ax.plot([row["median"]], [y], "|", color=INK, ms=7, mew=1.2)
        if person:
            ax.plot([float(row["used"])], [y], "D", color=PERSON_COLOUR, mec=INK, ms=4, mew=0.5)
        ax.set(ylim=(-0.32 * top, 1.06 * top))
        if histogram is not None:
            ax.set_yticks([t for t in ax.get_yticks() if 0 <= t <= 1.06 * top])
        ax.set_xlabel(label)

    return saved(draw, form, width_mm, height, note=_lines(said, note))


def levels_file(
    shares: pd.DataFrame,
    own: str,
    *,
    label: str = "",
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """Share of training people with each level; see `figures.levels_figure`."""
    head = wrapped(label, 0.98 * width_mm, 7)
    said = "Number of people beside each bar; blue: this person's level"
    said += f"; {_HATCHED}" if shares["percent"].isna().any() else ""
    stub = stub_of(shares["percent"])
    height = 4.6 * max(len(shares), 2) + 8.0 + heading_mm(head)

    def draw(figure: Any) -> None:
        ax = figure.subplots()
        where = np.arange(len(shares))
        colours = [PERSON_COLOUR if k == own else _BAR for k in shares["level"]]
        for n, (share, people) in enumerate(zip(shares["percent"], shares["people"], strict=True)):
            hidden = share != share
            look: dict[str, Any] = _STUB if hidden else {"lw": 0}
            ax.barh(n, stub if hidden else share, height=0.66, color=colours[n], **look)
            ax.annotate("* withheld" if hidden else f"{people:.0f}", (stub if hidden else share, n), xytext=(2, 0),
                        va="center", fontsize=6, textcoords="offset points")  # fmt: skip
        ax.set_yticks(where, [shortened(t, 0.48 * width_mm) for t in shares["label"]])
        ax.set(ylim=(len(shares) - 0.4, -0.6))
        ax.margins(x=0.12)
        ax.set_xlabel("Training people with a value (%)")
        if head:
            heading(figure, head)
        ax.tick_params(axis="y", length=0)
        ax.spines[["top", "right", "left"]].set_visible(False)

    return saved(draw, form, width_mm, height, note=_lines(said, note))


def along_age_file(
    along: pd.DataFrame,
    row: Mapping[str, Any],
    age: float,
    names: Mapping[str, str],
    *,
    age_units: str = "years",
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """Regression of a feature on age for each sex; see `figures.along_age_figure`."""
    tall = 46.0

    def draw(figure: Any) -> list[Any]:
        samples: list[Any] = []
        ax = figure.subplots()
        for n, (sex, part) in enumerate(along.groupby("sex", sort=False)):
            colour = SEX_COLOURS[n % len(SEX_COLOURS)]
            ax.fill_between(part["age"], part["low"], part["high"], color=colour, alpha=0.16, lw=0)
            label = f"{names.get(str(sex), 'all')} (n = {part['n'].iloc[0]})"
            look = {"color": colour, "lw": 1, "ls": _DASHES[n % len(_DASHES)]}
            samples += ax.plot(part["age"], part["value"], label=label, **look)
        samples += ax.plot(
            [age], [float(row["used"])], "D", color=PERSON_COLOUR, mec=INK, ms=4, mew=0.5, label="this person"
        )
        ax.set_xlabel(f"Age ({age_units})")
        ax.set_ylabel(wrapped(_with_unit(row), tall - 12.0, 6.5))
        ax.spines[["top", "right"]].set_visible(False)
        return samples

    said = "Cubic regressions on age; bands: ± 1 residual SD"
    return saved(draw, form, width_mm, tall, note=_lines(said, note), columns=3)


def volumes_by_age_file(
    curves: Mapping[str, pd.DataFrame],
    age: float,
    own: Mapping[str, float],
    *,
    who: str = "",
    age_units: str = "years",
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """Centiles of volumes by age among training people; see `figures.volumes_by_age_figure`.

    Args:
        who: whose centiles: `60 women`.
    """
    wide = width_mm > 1.5 * COLUMN_MM

    def draw(figure: Any) -> None:
        panels = figure.subplots(*((1, 4) if wide else (2, 2)), sharex=True).ravel()
        for n, (ax, (kind, curve)) in enumerate(zip(panels, curves.items(), strict=False)):
            tissue = BY_NAME.get(kind)
            colour, name = (tissue.colour, tissue.bids) if tissue else (GREY, kind.upper())
            ax.fill_between(curve["age"], curve["c5"], curve["c95"], color=colour, alpha=0.16, lw=0)
            ax.fill_between(curve["age"], curve["c25"], curve["c75"], color=colour, alpha=0.26, lw=0)
            ax.plot(curve["age"], curve["c50"], color=colour, lw=1)
            ax.plot([age], [own[kind]], "D", color=PERSON_COLOUR, mec=INK, ms=4, mew=0.5)
            ax.set_title(name, loc="left", color=colour, fontweight="bold", pad=3)
            ax.spines[["top", "right"]].set_visible(False)
            if wide or n >= 2:
                ax.set_xlabel(f"Age ({age_units})")
            if n % 2 == 0 and not (wide and n):
                ax.set_ylabel("Volume (mL)")

    said = f"Median, 25–75 and 5–95 centile bands of {who or 'training people'}; ◆: this person's generated brain"
    return saved(draw, form, width_mm, 44.0 if wide else 71.0, note=_lines(said, note))


def age_sex_file(
    summary: CohortSummary,
    names: Mapping[str, str],
    *,
    age_units: str = "years",
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """People in each age band and sex; see `figures.age_sex_figure`."""
    cells = [count for line in summary.by_age_sex for count in line]
    stub = stub_of(cells)

    def draw(figure: Any) -> list[Any]:
        samples: list[Any] = []
        ax = figure.subplots()
        bands = [f"{a:.0f}–{b:.0f}" for a, b in zip(summary.ages[:-1], summary.ages[1:], strict=True)]
        sexes = summary.sexes or ("",)
        width = 0.8 / len(sexes)
        for n, sex in enumerate(sexes):
            counts = [line[n] for line in summary.by_age_sex]
            where = np.arange(len(bands)) + (n - (len(sexes) - 1) / 2) * width
            colour = SEX_COLOURS[n % len(SEX_COLOURS)]
            label = names.get(sex, "all")
            samples.append(ax.bar(where, [c or 0 for c in counts], width * 0.94, color=colour, label=label))
            for x, count in zip(where, counts, strict=True):
                if count is None:
                    ax.bar(x, stub, width * 0.94, color=colour, **_STUB)
                _above(ax, x, stub if count is None else count, "*" if count is None else str(count))
        ax.set_xticks(range(len(bands)), bands)
        ax.set_xlabel(f"Age ({age_units})")
        ax.set_ylabel("People")
        ax.yaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
        return samples

    said = f"n = {summary.n}" + (f"; {_HATCHED}" if None in cells else "")
    return saved(draw, form, width_mm, 48.0, note=_lines(said, note), columns=3)


def _above(ax: Any, x: float, y: float, text: str) -> None:
    """Words above an upright bar."""
    ax.annotate(text, (x, y), ha="center", fontsize=6, xytext=(0, 1), textcoords="offset points")


def correlation_file(
    names: Sequence[str],
    correlations: Sequence[Sequence[float | None]],
    *,
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """Spearman's ρ of features and volumes; see `figures.correlation_figure`."""

    def draw(figure: Any) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        ax = figure.subplots()
        values = np.array([[np.nan if r is None else r for r in line] for line in correlations], float)
        scale = LinearSegmentedColormap.from_list("signed", ["#2F6FB5", "#F4F5F7", "#C4472B"])
        picture = ax.imshow(values, cmap=scale, vmin=-1, vmax=1, interpolation="nearest")
        size = 6 if len(names) <= 12 or width_mm > 1.5 * COLUMN_MM else 0
        for i, line in enumerate(values if size else ()):
            for j, rho in enumerate(line):
                if np.isfinite(rho) and i != j:
                    said = f"{rho:.1f}".replace("-", "−").replace("0.", ".")
                    ax.text(j, i, said, ha="center", va="center", fontsize=size,
                            color="white" if abs(rho) > 0.6 else INK)  # fmt: skip
        short = [shortened(n, 31.0) for n in names]
        ax.set_xticks(range(len(names)), short, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(names)), short)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        bar = figure.colorbar(picture, ax=ax, shrink=0.6, aspect=28, pad=0.02)
        bar.set_label("Spearman's ρ")
        bar.outline.set_visible(False)

    said = "Training people with both values; volumes of their prepared maps"
    return saved(draw, form, width_mm, 0.86 * min(width_mm, 130.0) + 3, note=_lines(said, note))


def methods_file(
    table: pd.DataFrame,
    names: Mapping[str, str],
    title: str,
    *,
    form: str = "svg",
    width_mm: float = COLUMN_MM,
    note: str = "",
) -> bytes:
    """One metric of several methods; see `figures.methods_figure`."""
    parts = list(dict.fromkeys(table["part"]))
    methods = [m for m in dict.fromkeys(table["method"]) if m != "floor"]
    floor = bool((table["method"] == "floor").any())
    wide = width_mm > 1.5 * COLUMN_MM
    across = min(len(parts), ACROSS) if wide else 1 if len(parts) <= ACROSS else 2
    down = -(-len(parts) // across)
    each = 3.9 if wide and down == 1 else 3.3
    label = wrapped(title, 0.55 * width_mm / across, 6.5)
    height = (each * len(methods) + 10.5) * down + 2.0 + 2.7 * label.count("\n")
    how = measured.interval_name(str(table["table"].iloc[0])) if table["low"].notna().any() else ""

    def draw(figure: Any) -> None:
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for ax in panels[len(parts) :]:
            ax.set_visible(False)
        for n, (ax, part) in enumerate(zip(panels, parts, strict=False)):
            own = table[table["part"] == part].set_index("method")
            said, colour = named(part)
            here = [m for m in methods if m in own.index]
            values, low, high = (own.loc[here, k].to_numpy(float) for k in ("value", "low", "high"))
            gaps = [np.nan_to_num(values - low), np.nan_to_num(high - values)]
            ax.errorbar(
                *(values, [methods.index(m) for m in here]),
                xerr=np.maximum(gaps, 0),
                **{"fmt": "o", "color": colour, "ms": 3, "elinewidth": 0.8, "capsize": 1.6},
            )
            if "floor" in own.index:
                ax.axvline(float(own.loc["floor", "value"]), color=INK, lw=0.7, ls=":")
            shown = [shortened(names.get(m, m), 36.0) if n % across == 0 else "" for m in methods]
            ax.set_yticks(range(len(methods)), shown)
            ax.set(ylim=(len(methods) - 0.5, -0.5))
            title_of = said if len(said) < 18 or across == 1 else said.replace(" and ", "\nand ")
            size = 7 if len(said) < 18 else 6
            ax.set_title(title_of, loc="left", color=colour, fontweight="bold", pad=2, fontsize=size)
            ax.grid(axis="y", color=GREY, alpha=0.2, lw=0.4)
            ax.tick_params(axis="y", length=0)
            ax.locator_params(axis="x", nbins=5)
            ax.spines[["top", "right"]].set_visible(False)
            if n + across >= len(parts):
                ax.set_xlabel(label)

    signs = [f"Intervals: 95 % {how} over people"] if how else []
    signs += ["dotted: real against real"] if floor else []
    return saved(draw, form, width_mm, height, note=_lines("; ".join(signs), note))


def _lines(said: str, note: str) -> str:
    """What signs mean, and the note below it."""
    return "\n".join(t for t in (said, note) if t)


def _with_unit(row: Mapping[str, Any]) -> str:
    return f"{row['label']} ({row['units']})" if row["units"] else str(row["label"])
