"""What each page can export: its figures with the tables behind them, from the page's own numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core import RESEARCH_USE, compare, coverage, figures, grid, measured, saliency
from csegsynth_core.data.cohort_summary import CohortSummary
from csegsynth_core.data.volume_centiles import CENTILES, KINDS, TOTAL
from csegsynth_core.figure_export import ExportFigure, note
from csegsynth_core.figures import CONTOURS, Display, Plane, VolumeRow, Voxel
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from csegsynth_core.static_brains import (
    NEUROLOGICAL,
    place_of,
    plane_table,
    planes_file,
    planes_table,
    scenarios_slices_file,
)
from csegsynth_core.static_charts import (
    age_sex_file,
    along_age_file,
    correlation_file,
    distribution_file,
    influence_file,
    levels_file,
    methods_file,
    scenarios_file,
    volumes_by_age_file,
    volumes_file,
)
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import ALL, BY_NAME, TISSUES

if TYPE_CHECKING:
    from csegsynth_core.surface import Surface
    from csegsynth_core.uncertainty import PairedSpread

BLACK: Final = "#000000"
NAMES: Final = {t.name: t.bids for t in ALL} | {TOTAL: "WM+GM+CSF"}
STRONGEST: Final = 12
"""Features whose correlations are drawn."""
_ENDS: Final = {"−": "#2F8FE8", "+": "#EE6A3C"}
"""Sign of a difference → its colour."""

Maps = NDArray[np.float32]


def _told(pack: Pack, made: Sequence[ExportFigure], *more: str) -> list[ExportFigure]:
    """Figures with what must be said where they stand alone: their own note, more of it, the pack, what it is for."""
    last = f"{note(pack)}. {RESEARCH_USE}"
    return [replace(one, note="\n".join(t for t in (one.note, *more, last) if t)) for one in made]


def _whose(pack: Pack, brain: Brain) -> str:
    """`female, 48 years; draw 3`."""
    return f"{pack.schema.describe(brain.features) or 'somebody'}; draw {brain.seed}"


@dataclass(frozen=True)
class Alike:
    """People of somebody's age and sex, among whose centiles volumes stand."""

    age: float | None
    """Somebody's, years; None for a pack without."""
    sex: str | None
    people: str
    """`women aged 48`; empty without an age. Beyond the reference ages the nearest one counts, and is named."""
    curves: str
    """`curves of 60`, beyond the reference ages with the age that it is nearest to."""

    @property
    def who(self) -> str:
        """`women aged 48 (curves of 60)`; empty without an age."""
        return f"{self.people} ({self.curves})" if self.people else ""


def alike(pack: Pack, person: Brain) -> Alike:
    """Whose centiles are a person's."""
    if pack.schema.age is None:
        return Alike(None, None, "", "")
    age = float(person.features[pack.schema.age.name])
    one = pack.schema.sex
    sex = str(person.features[one.name]) if one else None
    own = sex if sex in pack.centiles.sexes else None
    people = coverage.people_called(one.levels[own]) if one and own else "people"
    nearest = _reference_age(pack, age, own)
    curves = f"curves of {pack.centiles.people(own)}"
    if nearest != age:
        curves = f"the nearest reference age to {age:.0f}; {curves}"
    return Alike(age, own, f"{people} aged {nearest:.0f}", curves)


def _reference_age(pack: Pack, age: float, sex: str | None) -> float:
    """Age in years whose centiles stand for an age."""
    low, high = pack.centiles.ages(sex)
    return min(max(age, low), high)


def volume_ml(brain: Brain, volume: str) -> float:
    """Volume in mL of a tissue, of all or of a region."""
    if volume == TOTAL:
        return brain.total_ml
    return brain.volumes_ml[volume] if volume in KINDS else brain.regions_ml[volume]


def volume_table(
    pack: Pack, person: Brain, baseline: Brain, spread: PairedSpread | None = None
) -> pd.DataFrame:
    """Volumes of a person, tidy.

    Args:
        spread: over latent draws, of the person's volumes and of their differences to the baseline's.

    Returns:
        A row for each volume of tissues, their sum and regions: `volume`, `person_ml` (of the brain shown),
        `draws_mean_ml`, `draws_low_ml`, `draws_high_ml` (mean, 5th and 95th percentile over `draws` latent draws),
        `baseline_ml`, `change_ml`, `change_draws_mean_ml`, `change_draws_low_ml`, `change_draws_high_ml` (of the
        difference, draw by draw), `draws`, `centile`, and the reference centiles `c5_ml` … `c95_ml` of people of
        the same sex, aged `reference_age` (the same age, or the nearest with reference people). Draws are empty
        where their spread is not known.
    """
    people = alike(pack, person)
    age, sex = people.age, people.sex
    unknown = (np.nan, np.nan)
    rows = []
    for key in (*KINDS, *person.regions_ml):
        ml, base = (volume_ml(b, key) for b in (person, baseline))
        own, paired = (spread.person, spread.change) if spread else ({}, {})
        means = (
            [one.get(key, np.nan) for one in (spread.person_mean, spread.change_mean)] if spread else unknown
        )
        (low, high), (less, more) = own.get(key, unknown), paired.get(key, unknown)
        row: dict[str, Any] = {"volume": key, "person_ml": ml, "draws_mean_ml": means[0]}
        row |= {"draws_low_ml": low, "draws_high_ml": high, "baseline_ml": base, "change_ml": ml - base}
        row |= {"change_draws_mean_ml": means[1], "change_draws_low_ml": less, "change_draws_high_ml": more}
        row["draws"] = spread.draws if spread and key in own else None
        if age is not None and key in pack.centiles.kinds:
            row["reference_age"] = _reference_age(pack, age, sex)
            row["centile"] = pack.centiles.centile_of(key, age, sex, ml)
            curve = pack.centiles.curve(key, sex, [age]).iloc[0]
            row |= {f"c{c}_ml": float(curve[f"c{c}"]) for c in CENTILES}
        rows.append(row)
    return pd.DataFrame(rows)


def person_figures(
    pack: Pack,
    person: Brain,
    baseline: Brain,
    *,
    label: str = "baseline",
    at: Voxel = figures.CENTRE,
    display: Display = NEUROLOGICAL,
    mode: str = "tissues",
    tissue: str = "gm",
    smooth: bool = True,
    spread: Callable[[], PairedSpread] | None = None,
    draws: int = 0,
    behind: Callable[[], Maps] | None = None,
    meshes: Callable[[], tuple[Surface, Maps, Surface]] | None = None,
) -> list[ExportFigure]:
    """Figures of the Individual page: planes, contours, difference to the baseline, surface, volumes and centiles,
    volumes and regions less the baseline's.

    Args:
        label: who the baseline is.
        mode: what the planes show, one of `figures.MODES`.
        tissue: whose difference is shown.
        spread: gives the spread over `draws` latent draws of volumes and of their differences to the baseline.
        behind: gives the maps of the average brain that contours are drawn over.
        meshes: gives the cortex, the depth of its folds in mm, and the ventricles.
    """
    said = note(pack)
    shown: dict[str, Any] = {"at": at, "display": display, "smooth": smooth}
    what = "tissues" if mode == "tissues" else BY_NAME[mode].bids
    out = [
        _planes("planes", f"Planes, {what}", person.maps, said, mode=mode, **shown),
        _planes("planes_baseline", f"Planes, {what}, baseline", baseline.maps, said, mode=mode, **shown),
        _planes(
            f"difference_{tissue}", f"Difference of {BY_NAME[tissue].bids} to the baseline", person.maps,
            said, mode=tissue, baseline=baseline.maps, **shown,
        ),
    ]  # fmt: skip
    if behind is not None:
        out.append(_contours(person.maps, behind, said, **shown))
    if meshes is not None:
        out += [_surface(name, person, baseline, meshes, said) for name in ("folds", "moved", "inside")]
    if pack.schema.age is not None:
        out.append(_volumes(pack, person, baseline, label, spread, draws))
    out.append(_changes(pack, person, baseline, spread, draws))
    return _told(
        pack, out, f"This person: {_whose(pack, person)}. Baseline: {label} ({_whose(pack, baseline)})."
    )


def _contours(
    maps: Maps, behind: Callable[[], Maps], said: str, *, at: Voxel, display: Display, smooth: bool
) -> ExportFigure:
    look: dict[str, Any] = {"mode": CONTOURS, "display": display, "smooth": smooth}
    return ExportFigure(
        "contours",
        "Contours over an average brain",
        lambda form, width: planes_file(
            maps, at, **look, baseline=behind(), form=form, width_mm=width, note=said
        ),
        lambda: planes_table(maps, at, behind()),
        lambda: figures.planes_figure(maps, at, **look, baseline=behind()).update_layout(height=420),
        BLACK,
    )


_SURFACES: Final = {
    "folds": ("Surface, folding", "depth_mm"),
    "moved": ("Surface, change to the baseline", "moved_mm"),
    "inside": ("Surface, ventricles inside", "depth_mm"),
}


def _surface(
    name: str,
    person: Brain,
    baseline: Brain,
    meshes: Callable[[], tuple[Surface, Maps, Surface]],
    said: str,
) -> ExportFigure:
    title, column = _SURFACES[name]

    def parts() -> tuple[Surface, Maps, dict[str, Any]]:
        from csegsynth_core.surface import moved_mm  # imports scipy's image functions

        cortex, depth, ventricles = meshes()
        if name == "moved":
            return cortex, moved_mm(cortex, person.maps, baseline.maps), {"moved": True}
        return cortex, depth, {"inner": [(ventricles, *figures.VENTRICLES)] if name == "inside" else []}

    def file(form: str, width: float) -> bytes:
        from csegsynth_core.static_surface import surface_file

        cortex, values, look = parts()
        return surface_file(cortex, values, **look, form=form, width_mm=width, note=said)

    def table() -> pd.DataFrame:
        from csegsynth_core.static_surface import surface_table

        cortex, values, _ = parts()
        return surface_table(cortex, values, column)

    def turned() -> Any:
        cortex, values, look = parts()
        return figures.surface_figure(cortex, values, **look).update_layout(height=520)

    return ExportFigure(f"surface_{name}", title, file, table, turned, BLACK)


def _planes(
    name: str,
    title: str,
    maps: Maps,
    said: str,
    *,
    mode: str,
    at: Voxel,
    display: Display,
    smooth: bool,
    baseline: Maps | None = None,
    change: str = "change of fraction (person − baseline)",
) -> ExportFigure:
    look: dict[str, Any] = {"mode": mode, "display": display, "smooth": smooth, "baseline": baseline}
    look["change"] = change
    return ExportFigure(
        name,
        title,
        lambda form, width: planes_file(maps, at, **look, form=form, width_mm=width, note=said),
        lambda: planes_table(maps, at, baseline),
        lambda: figures.planes_figure(maps, at, **look).update_layout(height=420),
        BLACK,
    )


def _spread_name(draws: int) -> str:
    return f"5–95 % of {draws} latent draws of this person"


def _volumes(
    pack: Pack,
    person: Brain,
    baseline: Brain,
    label: str,
    spread: Callable[[], PairedSpread] | None,
    draws: int,
) -> ExportFigure:
    who = alike(pack, person).who

    def table() -> pd.DataFrame:
        return volume_table(pack, person, baseline, spread() if spread else None)

    def rows() -> list[VolumeRow]:
        return [
            VolumeRow(
                NAMES[r["volume"]],
                figures.SUM_COLOUR if r["volume"] == TOTAL else BY_NAME[r["volume"]].colour,
                *(r["person_ml"], r["baseline_ml"]),
                tuple(r[f"c{c}_ml"] for c in CENTILES),  # type: ignore[arg-type]
                (r["draws_low_ml"], r["draws_high_ml"]) if spread else None,
            )
            for r in table().to_dict("records")
            if r["volume"] in KINDS
        ]

    def file(form: str, width: float) -> bytes:
        return volumes_file(
            rows(), spread_name=_spread_name(draws), baseline=label, who=f"of {who}", form=form, width_mm=width,
            note=note(pack),
        )  # fmt: skip

    said = f"● this person, ○ baseline; bands and line: centiles 5–95, 25–75 and median of {who}"
    return ExportFigure(
        "volumes",
        "Volumes among centiles",
        file,
        table,
        lambda: figures.centile_figure(rows(), row_px=76, alone=True),
        note=said + (f"; line below: {_spread_name(draws)}" if spread else ""),
    )


def _changes(
    pack: Pack,
    person: Brain,
    baseline: Brain,
    spread: Callable[[], PairedSpread] | None,
    draws: int,
) -> ExportFigure:
    """Volumes of tissues and regions less the baseline's, as bars."""
    titles = NAMES | {r.name: r.title for r in REGIONS}
    band = (
        f"5–95 % of the differences of {draws} latent draws, each the same for both people" if spread else ""
    )
    shown = "change_draws_mean_ml" if spread else "change_ml"
    said = f"Bars: mean, whiskers: {band}" if spread else ""
    axis = "Difference to the baseline (mL)"

    def table() -> pd.DataFrame:
        return volume_table(pack, person, baseline, spread() if spread else None)

    def bars() -> list[figures.InfluenceBar]:
        return [
            figures.InfluenceBar(
                titles[r["volume"]], r[shown], r["change_draws_low_ml"], r["change_draws_high_ml"], "mL"
            )
            for r in table().to_dict("records")
        ]

    return ExportFigure(
        "volumes_change",
        "Volumes, difference to the baseline",
        lambda form, width: influence_file(
            bars(), colour=figures.SUM_COLOUR, axis=axis, band=band, title="Volumes less the baseline's",
            form=form, width_mm=width, note=note(pack),
        ),
        table,
        lambda: figures.influence_figure(bars(), colour=figures.SUM_COLOUR, axis=axis, band=band),
        note=said,
    )  # fmt: skip


def influence_figures(
    pack: Pack,
    shown: pd.DataFrame,
    *,
    colour: str,
    axis: str,
    band: str,
    title: str,
    whole: Callable[[], pd.DataFrame],
) -> list[ExportFigure]:
    """The bars of the Feature influence page.

    Args:
        shown: as from `saliency.to_show`.
        title: whose volume, and of whom.
        whole: the table of all features and measures.
    """
    bars = [
        figures.InfluenceBar(
            r["label"], r["value_ml"], r["low_ml"], r["high_ml"], r["unit"], r["is_contrast"]
        )
        for r in shown.to_dict("records")
    ]
    look: dict[str, Any] = {"colour": colour, "axis": axis, "band": band}
    one = ExportFigure(
        "influence",
        "Influence of features",
        lambda form, width: influence_file(
            bars, **look, title=title, form=form, width_mm=width, note=note(pack)
        ),
        whole,
        lambda: figures.influence_figure(bars, **look),
    )
    words = "Associations that a model learned, not effects." + (f" Whiskers: {band}." if band else "")
    return _told(pack, [one], title, words)


def map_figure(
    pack: Pack,
    brain: Brain,
    change: Callable[[], Maps],
    column: str,
    label: str,
    *,
    tissue: str,
    at: Voxel = figures.CENTRE,
    display: Display = NEUROLOGICAL,
    smooth: bool = True,
    whose: str = "",
    anatomy: Callable[[], Maps] | None = None,
) -> ExportFigure:
    """Where in the brain a feature acts; `change` gives what `saliency.voxel_map` does.

    Args:
        whose: what it is a mean of (`saliency.averaged_words`); empty: it is of this brain.
        anatomy: gives the maps below a mean; by default the brain's.
    """

    def beneath() -> Maps:
        return brain.maps if anatomy is None else anatomy()

    def drawn() -> ExportFigure:
        maps = beneath()
        return _planes(
            "", "", maps, f"{note(pack)}; {whose}" if whose else note(pack), mode=tissue, at=at, display=display,
            smooth=smooth, baseline=maps - change(), change=f"change of fraction for 1 SD of {label}",
        )  # fmt: skip

    one = ExportFigure(
        f"map_{_plain(column)}_{tissue}",
        f"Where {label} acts, {BY_NAME[tissue].bids}" + (f": {whose}" if whose else ""),
        lambda form, width: drawn().file(form, width),
        lambda: _map_table(beneath(), change(), at),
        lambda: drawn().html(),
        BLACK,
    )
    of = f"Derivative, {whose}" if whose else f"Derivative in one person: {_whose(pack, brain)}"
    return _told(pack, [one], f"{of}. An association, not an effect.")[0]


def _map_table(maps: Maps, change: Maps, at: Voxel) -> pd.DataFrame:
    table = planes_table(maps, at, maps - change)
    return table.rename(columns={f"change_{t}": f"gradient_{t}_per_sd" for t in TISSUES})


def map_files(
    pack: Pack,
    brain: Brain,
    change: Maps,
    column: str,
    step: float = saliency.STEP_SD,
    *,
    mean: saliency.MeanMap | None = None,
) -> Iterator[tuple[str, bytes]]:
    """A voxel map of influence as a BIDS derivative: an image with its sidecar for each tissue, and what they are.

    Args:
        brain: whose map it is.
        mean: where `change` is that of a mean, whose: then the files tell of these people.
    """
    from csegsynth_core import export
    from csegsynth_core.data import bids
    from csegsynth_core.data.nifti import nifti_gz_bytes

    who = export.participant_label(brain) if mean is None else "sub-mean"
    said = (
        "Derivative of generated tissue fractions with respect to one standardised feature; an association that a "
        "model learned from cross-sectional data, not an effect"
    )
    fields = export.sidecar_fields(brain, pack)
    people = {who: brain.features}
    if mean is not None:
        rows = zip(mean.natural.index, mean.natural.to_dict("records"), strict=True)
        people = {export.participant_label(str(k)): {str(n): v for n, v in row.items()} for k, row in rows}
        said = f"{_mean_said(mean)}. {said}"
        fields = {k: v for k, v in fields.items() if k not in _OF_ONE}
        fields |= {"Seed": mean.seed, "People": len(people), "PeopleInAll": mean.of, "Draws": mean.draws}
        fields |= {"Participants": list(people)}
    fields |= {
        "Description": said,
        "EncodedColumn": column,
        "Units": "fraction per standard deviation of the feature",
        "Method": f"central finite difference, ± {step:g} SD",
    }
    for k, tissue in enumerate(ALL):
        stem = export.map_name(who, "statmap", label=tissue.bids, desc=f"gradient{_plain(column)}")
        text = f"SYNTHETIC {tissue.bids} gradient, {column}"
        yield (
            f"{stem}.nii.gz",
            nifti_gz_bytes(np.ascontiguousarray(change[k]), grid.affine(), description=text),
        )
        yield f"{stem}.json", bids.sidecar(fields | {"Label": tissue.bids}).encode()
    title = f"Influence of {column} in a synthetic brain, CSegSynth pack {pack.name}"
    if mean is not None:
        title = f"Influence of {column} in synthetic brains ({_mean_said(mean)}), CSegSynth pack {pack.name}"
    licence = str(pack.about.get("licence", ""))
    yield (
        "dataset_description.json",
        bids.dataset_description(title, synthetic=True, licence=licence).encode(),
    )
    readme = f"{note(pack)}.\n{said}.\n{RESEARCH_USE}\n\n{pack.about.get('attribution', '')}\n"
    yield "README.md", readme.encode()
    yield from export.participants_files(pack, people)


_OF_ONE: Final = ("Draw", "Draws", "Features", "FeatureFlags", "VolumesML")
"""What a sidecar says of one brain alone."""


def _mean_said(mean: saliency.MeanMap) -> str:
    """`Mean over 32 of 50 people and 1 latent draw of each`."""
    count = len(mean.natural)
    people = (
        f"{count} of {mean.of} people" if count < mean.of else f"{count} people" if count > 1 else "1 person"
    )
    return f"Mean over {people} and {mean.draws} latent draw{'s' * (mean.draws > 1)} of each"


def compare_figures(
    pack: Pack,
    table: pd.DataFrame,
    brains: Mapping[str, Brain],
    people: Mapping[str, Mapping[str, Any]],
    *,
    plane: Plane,
    tissue: str,
    at: Voxel = figures.CENTRE,
    display: Display = NEUROLOGICAL,
    smooth: bool = True,
) -> list[ExportFigure]:
    """Volumes of scenarios, and a slice of each with its difference to the first.

    Args:
        table: as from `compare.compared`.
        people: scenario → features.
    """
    maps = {name: brain.maps for name, brain in brains.items()}
    first = next(iter(maps.values()))

    def slices() -> pd.DataFrame:
        parts = [
            plane_table(m, plane, at, None if m is first else first).assign(scenario=name)
            for name, m in maps.items()
        ]
        return pd.concat(parts, ignore_index=True)

    def together() -> Any:
        return _side_by_side(maps, plane, at, tissue, display, limit)

    tissues = table[table["measure"].isin(KINDS)]
    regions = table[~table["measure"].isin(KINDS)]

    def volumes(name: str, title: str, part: pd.DataFrame) -> ExportFigure:
        return ExportFigure(
            name,
            title,
            lambda form, width: scenarios_file(part, form=form, width_mm=width, note=note(pack)),
            lambda: compare.with_features(part, people),
            lambda: figures.scenarios_figure(part, row_px=24, alone=True),
            note=f"Mean ± 1 SD over {int(table['draws'].iloc[0])} latent draws, the same in all scenarios",
        )

    limit = figures.shared_limit(list(maps.values()), first, tissue)
    samples = "  ".join(f'<span style="color:{t.colour}">■</span> {t.bids}' for t in ALL)
    ends = "  ".join(f'<span style="color:{c}">■</span> {s}{limit:g}' for s, c in _ENDS.items())
    draw = next(iter(brains.values())).seed
    key = f"{place_of(plane, at)}, draw {draw}: {samples}. Δ fraction to the first: {ends}"
    made = [
        volumes("scenarios_volumes", "Volumes", tissues),
        *([volumes("scenarios_regions", "Volumes of regions", regions)] if len(regions) else []),
        ExportFigure(
            "scenarios_slices",
            f"Slices, difference of {BY_NAME[tissue].bids}",
            lambda form, width: scenarios_slices_file(
                maps,
                plane,
                at,
                tissue=tissue,
                display=display,
                smooth=smooth,
                form=form,
                width_mm=width,
                note=note(pack),
            ),
            slices,
            together,
            BLACK,
            key,
        ),
    ]
    who = (f"{name}: {pack.schema.describe(brain.features)}" for name, brain in brains.items())
    return _told(pack, made, *(w for w in who if not w.endswith(": ")))


def _side_by_side(
    maps: Mapping[str, Maps], plane: Plane, at: Voxel, tissue: str, display: Display, limit: float
) -> Any:
    """Slices of scenarios (above) and differences to the first (below) as one Plotly figure."""
    from plotly.subplots import make_subplots

    names, first = list(maps), next(iter(maps.values()))
    under = [f"Δ {BY_NAME[tissue].bids}" if n else "" for n in range(len(names))]
    figure = make_subplots(2, len(names), subplot_titles=[*names, *under], vertical_spacing=0.08)
    one = figures.view(plane, display)
    for n, m in enumerate(maps.values()):
        pictures = [figures.slice_rgb(m, one, at[one.through])]
        if n:
            pictures.append(
                figures.slice_rgb(m, one, at[one.through], mode=tissue, baseline=first, limit=limit)
            )
        for line, rgb in enumerate(pictures):
            figure.add_image(z=np.rint(255 * rgb).astype(np.uint8), row=line + 1, col=n + 1, hoverinfo="skip")
            cell, (rows, columns) = line * len(names) + n + 1, rgb.shape[:2]
            place = {"xref": f"x{cell}", "yref": f"y{cell}"} if cell > 1 else {"xref": "x", "yref": "y"}
            for letter in figures.side_letters(one, place, (-0.5, columns - 0.5, rows - 0.5, -0.5), size=12):
                figure.add_annotation(letter)
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return figure.update_layout(
        height=640, font={"color": "#E8EDF2"}, margin={"l": 8, "r": 8, "t": 40, "b": 8}
    )


def cohort_figures(
    pack: Pack, row: Mapping[str, Any], places: pd.DataFrame, person: Brain, summary: CohortSummary | None
) -> list[ExportFigure]:
    """Figures of the Cohort page.

    Args:
        row: of `places`, the feature that is shown.
        places: as from `coverage.placed`.
    """
    said, name = note(pack), str(row["feature"])
    sexes = dict(pack.schema.sex.levels) if pack.schema.sex else {}
    units = pack.schema.age.units if pack.schema.age else "years"
    out: list[ExportFigure] = []
    label = str(row["label"])
    if row["kind"] != "numeric":
        shares = coverage.level_shares(pack, name)
        own = str(row["used"])
        out.append(
            ExportFigure(
                f"levels_{_plain(name)}", f"{label}: levels",
                lambda form, width: levels_file(shares, own, label=label, form=form, width_mm=width, note=said),
                lambda: shares,
                lambda: figures.levels_figure(shares, own, height=90 + 34 * len(shares)),
            )
        )  # fmt: skip
    else:
        histogram = summary.histograms.get(name) if summary else None
        out.append(
            ExportFigure(
                f"distribution_{_plain(name)}", f"{label}: distribution",
                lambda form, width: distribution_file(row, histogram, form=form, width_mm=width, note=said),
                lambda: _distribution_table(row, histogram),
                lambda: figures.distribution_figure(row, histogram, height=320),
            )
        )  # fmt: skip
        along = coverage.along_age(pack, name)
        if len(along) and pack.schema.age is not None:
            age = float(person.features[pack.schema.age.name])
            out.append(
                ExportFigure(
                    f"age_{_plain(name)}", f"{label}: by age and sex",
                    lambda form, width: along_age_file(
                        along, row, age, sexes, age_units=units, form=form, width_mm=width, note=said
                    ),
                    lambda: along,
                    lambda: figures.along_age_figure(along, row, age, sexes, age_units=units, height=420),
                )
            )  # fmt: skip
    if pack.schema.age is not None:
        out.append(_by_age(pack, person))
    if summary is not None:
        names, rho = summary.strongest(STRONGEST)
        labels = [BY_NAME[n].bids if n in BY_NAME else pack.schema.feature(n).label for n in names]
        out += [
            ExportFigure(
                "people_by_age_and_sex", "People by age and sex",
                lambda form, width: age_sex_file(
                    summary, sexes, age_units=units, form=form, width_mm=width, note=said
                ),
                lambda: _age_sex_table(summary),
                lambda: figures.age_sex_figure(summary, sexes, age_units=units, height=420),
            ),
            ExportFigure(
                "correlations", "Correlations",
                lambda form, width: correlation_file(labels, rho, form=form, width_mm=width, note=said),
                lambda: _correlation_table(summary),
                lambda: figures.correlation_figure(labels, rho, height=560),
            ),
        ]  # fmt: skip
    return _told(pack, [*out, _places(pack, places)], f"This person: {_whose(pack, person)}.")


def _places(pack: Pack, places: pd.DataFrame) -> ExportFigure:
    """Coverage: how far from the training mean every number of the person lies."""
    numbers = places[(places["kind"] == "numeric") & places["z"].notna()]
    order = numbers["z"].abs().sort_values(ascending=False).index[:20]
    bars = [
        figures.InfluenceBar(r["label"], float(r["z"]), np.nan, np.nan, "SD")
        for r in numbers.loc[order].to_dict("records")
    ]
    axis = "SD from the mean of training people"
    title = "Where this person lies among the training people" + (
        " (20 farthest)" if len(numbers) > 20 else ""
    )
    return ExportFigure(
        "coverage",
        "Coverage: this person",
        lambda form, width: influence_file(
            bars, colour="#1F8FB3", axis=axis, title=title, form=form, width_mm=width, note=note(pack)
        ),
        lambda: places,
        lambda: figures.influence_figure(bars, colour="#1F8FB3", axis=axis),
    )


def _by_age(pack: Pack, person: Brain) -> ExportFigure:
    assert pack.schema.age is not None  # noqa: S101 - the caller looked
    sex = str(person.features[pack.schema.sex.name]) if pack.schema.sex else None
    age = float(person.features[pack.schema.age.name])
    own, units = {**person.volumes_ml, TOTAL: person.total_ml}, pack.schema.age.units

    def curves() -> dict[str, pd.DataFrame]:
        years = np.linspace(*pack.centiles.ages(sex), 60)
        return {kind: pack.centiles.curve(kind, sex, years) for kind in KINDS}

    levels = dict(pack.schema.sex.levels) if pack.schema.sex else {}
    named = levels.get(sex or "", "people") if sex in pack.centiles.sexes else "people"
    who = f"{pack.centiles.people(sex)} training {coverage.people_called(named)}"
    return ExportFigure(
        "volumes_by_age",
        "Volumes by age",
        lambda form, width: volumes_by_age_file(
            curves(), age, own, who=who, age_units=units, form=form, width_mm=width, note=note(pack)
        ),
        lambda: pd.concat(
            [c.assign(volume=k, person_age=age, person_ml=own[k]) for k, c in curves().items()]
        ),
        lambda: figures.volumes_by_age_figure(curves(), age, own, age_units=units, height=620),
        note=f"Median, 25–75 and 5–95 centile bands of {who}; ◆ this person's generated brain",
    )


def evaluation_figures(pack: Pack) -> list[ExportFigure]:
    """One figure for each table and metric of the Evaluation page."""
    whole = measured.tidy(pack.metrics)
    out = []
    for (table, metric), part in whole.groupby(["table", "metric"], sort=False):
        title = measured.headed(str(metric))
        names = {m: measured.name_of(m) for m in part["method"]}
        out.append(
            _method(pack, part, names, f"{table}_{metric}".replace("/", "_"), f"{table}: {title}", title)
        )
    return out


def _method(
    pack: Pack, part: pd.DataFrame, names: Mapping[str, str], name: str, label: str, title: str
) -> ExportFigure:
    label = label.replace("/", ": ")
    drawn = measured.scaled(part, str(part["metric"].iloc[0]))
    how = measured.interval_name(str(part["table"].iloc[0])) if part["low"].notna().any() else ""
    signs = [f"Intervals: 95 % {how} over people"] if how else []
    signs += ["dotted: real against real"] if (part["method"] == "floor").any() else []
    one = ExportFigure(
        name,
        label[:1].upper() + label[1:],
        lambda form, width: methods_file(drawn, names, title, form=form, width_mm=width, note=note(pack)),
        lambda: part,
        lambda: figures.methods_figure(drawn, names, title),
        note="; ".join(signs),
    )
    return _told(pack, [one])[0]


def _distribution_table(row: Mapping[str, Any], histogram: Any) -> pd.DataFrame:
    """Bins (people withheld: n/a), then the summary statistics."""
    stats = ("mean", "sd", "centile1", "median", "centile99", "minimum", "maximum")
    rows: list[dict[str, Any]] = []
    if histogram is not None:
        for low, high, count in zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True):
            rows.append({"what": "bin", "low": low, "high": high, "people": count})
    rows += [{"what": s, "value": row[s]} for s in stats] + [{"what": "this person", "value": row["used"]}]
    table = pd.DataFrame(rows, columns=["what", "low", "high", "people", "value"])
    return table.assign(feature=row["feature"], units=row["units"])


def _age_sex_table(summary: CohortSummary) -> pd.DataFrame:
    rows = [
        {"age_from": low, "age_to": high, "sex": sex, "people": count}
        for low, high, line in zip(summary.ages[:-1], summary.ages[1:], summary.by_age_sex, strict=True)
        for sex, count in zip(summary.sexes or ("all",), line, strict=True)
    ]
    return pd.DataFrame(rows)


def _correlation_table(summary: CohortSummary) -> pd.DataFrame:
    rows = [
        {"one": a, "other": b, "spearman_rho": np.nan if rho is None else rho}
        for i, (a, line) in enumerate(zip(summary.names, summary.correlations, strict=True))
        for b, rho in zip(summary.names[:i], line[:i], strict=True)
    ]
    return pd.DataFrame(rows)


def names_of(labels: Sequence[str]) -> dict[str, str]:
    """Scenario names → `sub-scenario1`, …, in their order."""
    return {name: f"sub-scenario{n + 1}" for n, name in enumerate(labels)}


def _plain(text: str) -> str:
    """Letters and digits only, each word's first letter a capital."""
    words = "".join(c if c.isalnum() and c.isascii() else " " for c in text).split()
    return "".join(w[:1].upper() + w[1:] for w in words)
