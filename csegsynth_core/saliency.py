"""Which features matter: gradients of generated volumes with respect to the features (paper, Table IV).

For a measure m of a generated brain, such as the volume of grey matter,

    g = ∂ m(G(P(ẑ | y))) / ∂ y

is exact, by back-propagation through generator and prior network, for encoded features y, so mL for each
standard deviation; divided by a numeric feature's standard deviation it is mL for each year, cm or kg. It is
averaged over latent draws ẑ (the same for everybody) and over people, with a bootstrap interval over people.
Features with levels have no derivative between their levels; `contrasts` gives finite differences in mL
instead. `voxel_map` shows where in the brain a feature acts.

Whose gradients? A pack holds no training people (their privacy), only summary statistics. People are therefore
somebody's table, one person, or those of `synthetic_people`: typical or drawn ones, who are nobody.

These are associations that a model learned from cross-sectional data, not effects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from csegsynth_core.data.feature import suggestion
from csegsynth_core.data.volume_centiles import TOTAL
from csegsynth_core.errors import CSegSynthError, TableError
from csegsynth_core.generate import encode, latent_draws, sd_over_draws
from csegsynth_core.natural_units import natural_step, per_step
from csegsynth_core.pack import Pack
from csegsynth_core.regions import each_region_ml
from csegsynth_core.side_by_side import TURN, side_by_side
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml

DRAWS: Final = 4
BOOTSTRAPS: Final = 2000
STEP_SD: Final = 0.1
"""Half the distance of the two points of a finite difference, in standard deviations."""

MAPS: Final = 32
"""Voxel maps that a mean is taken of, at most."""

_NAMED: Final = 4
"""Features that `flag_words` names."""

_BATCH: Final = {1: 1, 2: 2}  # larger ones are slower on a CPU: their activations leave its caches

Where = Mapping[str, tuple[float, float] | Collection[str]]
"""Feature → lowest and highest value of a number, or the levels wanted."""
Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all."""


@dataclass(frozen=True)
class Measures:
    """Named differentiable measures of generated maps, computed together."""

    names: tuple[str, ...]
    of: Callable[[Float[Tensor, "n 4 i j k"], int], Sequence[Float[Tensor, " n"]]]
    """Maps inside the model's region and their resolution (1: all voxels, 2: every second one) → for each measure one
    number, usually mL, of each brain. Separate tensors: joined in one, each would send zeros back through all that
    the others need, such as the parcellation network."""


TISSUE_VOLUMES: Final = Measures(
    TISSUES, lambda maps, resolution: volumes_ml(maps[:, :3], resolution).unbind(dim=1)
)
"""Volumes of the three tissues. Their sum `wm+gm+csf` is added to every result at no cost."""

EVERY_SECOND: Final = "every second voxel"
"""What is to be said where `resolution` is 2."""

WHOLE_REGIONS: Final = REGIONS[:5]


def _whole_regions(maps: Float[Tensor, "n 4 i j k"], resolution: int) -> list[Float[Tensor, " n"]]:
    found = each_region_ml(maps)
    return [found[r.name] for r in WHOLE_REGIONS]


REGION_VOLUMES: Final = Measures(tuple(r.name for r in WHOLE_REGIONS), _whole_regions)
"""Volumes of the regions that divide the brain, as the parcellation network reads them."""

EVERYTHING: Final = (TISSUE_VOLUMES, REGION_VOLUMES)
"""What the pages and the command measure."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """Gradients of every measure for each person and draw."""

    slopes: NDArray[np.float32]
    """(people, draws, measures, columns): mL for each standard deviation of a column of encoded features."""
    measures: tuple[str, ...]
    columns: tuple[str, ...]
    """Encoded columns: `age`, `ethnicity=white`."""
    natural: pd.DataFrame
    """(people, features): the values that the model saw, index participant_id."""
    flags: pd.DataFrame
    """(people, features): what was imputed or out of range."""
    seed: int
    resolution: int
    pack_name: str
    pack_hash: str

    @property
    def people(self) -> int:
        """How many people."""
        return self.slopes.shape[0]


def gradients(
    pack: Pack,
    people: pd.DataFrame | Mapping[str, Any],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    resolution: int = 1,
    measures: Sequence[Measures] = (TISSUE_VOLUMES,),
    batch: int | None = None,
    progress: Progress | None = None,
    source: str = "people",
) -> Gradients:
    """Gradients of measures with respect to every encoded feature, one backward pass for each measure.

    The cost is people × draws × measures backward passes, whatever the number of features.

    Args:
        people: a table as for `generate`, or one person's features.
        draws: latent draws from `seed`, the same for everybody, those of `latent_draws`.
        resolution: 1 takes all voxels and is exact; 2 every second one along each axis (`EVERY_SECOND`), two and a
            half to three times faster. Its volumes differ from the exact ones by some tenths of a per cent, its
            gradients by more: of one person (shipped packs, 2 or 4 draws, the ten most influential features) by 1
            to 13 % in the median for tissues, single ones up to 25 %; by 6 to 18 % for ventricles, up to 35 %; for
            small regions such as the brainstem up to their own size.
        batch: people × draws at a time; by default 1 with all voxels, and 2 with every second one.
        progress: told after every batch.

    Raises:
        TableError: see `generate.encode`.
        CSegSynthError: the resolution is not one of the generator's, or `draws` or `seed` cannot be used.
    """
    _check(pack, resolution)
    encoded = encode(pack, people, source=source)
    names = tuple(name for group in measures for name in group.names)
    z = latent_draws(pack, draws, seed)
    x = torch.from_numpy(encoded.x)
    total = len(x) * draws
    batch = batch or _BATCH[resolution]
    found = np.zeros((total, len(names), x.shape[1]), np.float32)

    def compute(start: int) -> int:
        rows = torch.arange(start, min(start + batch, total))
        with TURN, torch.enable_grad():
            y = x[rows // draws].clone().requires_grad_(True)
            maps = pack.model(y, z[rows % draws], resolution)
            parts = [one for group in measures for one in group.of(maps, resolution)]
            for m, part in enumerate(parts):
                (one,) = torch.autograd.grad(part.sum(), y, retain_graph=m + 1 < len(parts))
                found[start : start + len(rows), m] = one.numpy()
        return len(rows)

    done = 0
    # All voxels of one brain take some 0.4 GB on the way back: one at a time.
    in_turn = map if resolution == 1 else side_by_side
    for count in in_turn(compute, range(0, total, batch)):
        done += count
        if progress is not None:
            progress(done, total)
    by_column, labels = _with_total(np.moveaxis(found, 1, -1), names)
    slopes = np.moveaxis(by_column, -1, 1).reshape(len(x), draws, len(labels), x.shape[1])
    return Gradients(
        slopes=slopes,
        measures=labels,
        columns=tuple(encoded.columns),
        natural=encoded.natural,
        flags=encoded.flags,
        seed=seed,
        resolution=resolution,
        pack_name=pack.name,
        pack_hash=pack.hash,
    )


def matching(pack: Pack, natural: pd.DataFrame, where: Where) -> NDArray[np.bool_]:
    """Who is in a subgroup, shape (people,).

    Args:
        natural: natural values of the features, as in `Gradients.natural`.
        where: numbers within both ends, levels among those listed; all conditions together.

    Raises:
        TableError: no such feature or level, or an empty range.
    """
    keep = np.ones(len(natural), bool)
    for name, wanted in where.items():
        one = pack.schema.feature(name)
        if one.is_numeric:
            pair: tuple[Any, ...] = tuple(wanted)
            if len(pair) != 2 or not float(pair[0]) <= float(pair[1]):
                raise TableError(
                    f"filter on {name}: not a range", expected="(lowest, highest)", got=repr(wanted)
                )
            numbers = natural[name].to_numpy(float)
            keep &= (numbers >= float(pair[0])) & (numbers <= float(pair[1]))
        else:
            wrong = [str(v) for v in wanted if str(v) not in one.levels]
            if isinstance(wanted, str) or wrong:
                raise TableError(
                    f"filter on {name}: no such level",
                    expected=one.expected,
                    got=", ".join(wrong) or repr(wanted),
                    fix=suggestion(wrong[0] if wrong else str(wanted), one.levels),
                )
            keep &= natural[name].astype(str).isin([str(v) for v in wanted]).to_numpy()
    return keep


def summarise(
    pack: Pack, found: Gradients, *, where: Where | None = None, bootstraps: int = BOOTSTRAPS, seed: int = 0
) -> pd.DataFrame:
    """The mean gradient over people and draws with its bootstrap interval: the paper's Table IV, in full.

    Args:
        where: only this subgroup (`matching`).
        bootstraps: resamples of people for the 95 % interval of the mean (percentiles 2.5 and 97.5); equal
            seeds give equal intervals.

    Returns:
        Tidy, one row for each measure and encoded column, most influential first within a measure: `measure`,
        `rank`, `feature`, `column`, `label`, `level` (the one that a larger code means), `kind`, `group`,
        `per_sd_ml` (mL for each standard deviation of the column), `low_ml`, `high_ml` (95 % bootstrap interval
        of the mean over people; NaN for one person), `sd_draws_ml` (standard deviation over latent draws of the
        mean over people; NaN for one draw), `sd` (of the feature, natural units or steps of a level; NaN for
        nominal ones), `units`, `per_unit_ml`, `per_unit_low_ml`, `per_unit_high_ml` (mL for each year, cm, …;
        numeric features only), `people`, `draws`, `flagged_people` (how many of them have values that were imputed,
        are out of the training range or rare). Columns in which training people did not differ are left out: they
        have no meaningful gradient.

    Raises:
        TableError: nobody is in the subgroup, or see `matching`.
    """
    keep = matching(pack, found.natural, where or {})
    if not keep.any():
        raise TableError(
            "nobody is in this subgroup", expected="at least one person", fix="widen the filters"
        )
    values = found.slopes[keep] * pack.encoder.column_sd()
    people, draws = values.shape[:2]
    flagged = int((found.flags[keep] != "").any(axis=1).sum())
    mean = values.mean(axis=(0, 1))
    low, high = bootstrap_interval(values.mean(axis=1), bootstraps, seed)
    spread = sd_over_draws(values.mean(axis=0))
    frames = []
    meta = _columns(pack, found.columns)
    for m, measure in enumerate(found.measures):
        one = meta.assign(
            measure=measure,
            per_sd_ml=mean[m],
            low_ml=low[m],
            high_ml=high[m],
            sd_draws_ml=spread[m],
            people=people,
            draws=draws,
            flagged_people=flagged,
        )
        for natural, own in (
            ("per_unit_ml", "per_sd_ml"),
            ("per_unit_low_ml", "low_ml"),
            ("per_unit_high_ml", "high_ml"),
        ):
            one[natural] = np.where(one["kind"] == "numeric", one[own] / one["sd"], np.nan)
        one = one[one.pop("varies")]
        one = one.iloc[np.argsort(-one["per_sd_ml"].abs().to_numpy(), kind="stable")]
        frames.append(one.assign(rank=np.arange(1, len(one) + 1)))
    first = ["measure", "rank", "feature", "column", "label", "level", "kind", "group"]
    rest = ["per_sd_ml", "low_ml", "high_ml", "sd_draws_ml", "sd", "units", "per_unit_ml"]
    out = pd.concat(frames, ignore_index=True)
    return out[[*first, *rest, "per_unit_low_ml", "per_unit_high_ml", "people", "draws", "flagged_people"]]


def bootstrap_interval(
    values: NDArray[np.float64], bootstraps: int = BOOTSTRAPS, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % percentile bootstrap interval of the mean over the first axis; NaN where there is one person only."""
    people = len(values)
    if people < 2:
        return np.full(values.shape[1:], np.nan), np.full(values.shape[1:], np.nan)
    counts = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=bootstraps)
    means = (counts / people) @ values.reshape(people, -1)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return low.reshape(values.shape[1:]), high.reshape(values.shape[1:])


def comparisons(pack: Pack, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Contrasts of features: (feature, from level, to level).

    Binary: second − first. Ordinal: highest − lowest. Nominal: each level − the most frequent; of an encoded
    column (`ethnicity=white`) that level alone, the most frequent one − the second. Levels that fewer than three
    training people have are left out.

    Args:
        names: features or encoded columns; numeric ones have no contrasts.
    """
    out: list[tuple[str, str, str]] = []
    owners = dict(zip(pack.encoder.columns, pack.encoder.owners, strict=True))
    controls = pack.encoder.ranges()
    for name in names:
        one = pack.schema.feature(owners.get(name, name))
        levels = [k for k in one.levels if k not in controls[one.name].rare]
        if one.is_numeric or len(levels) < 2:
            continue
        if one.kind == "nominal":
            counts = pack.encoder.levels[one.name].counts
            usual, second = sorted(levels, key=lambda k: -counts[k])[:2]
            if name == f"{one.name}={usual}":
                out.append((one.name, second, usual))
            wanted = [k for k in levels if name in (one.name, f"{one.name}={k}") and k != usual]
            out += [(one.name, usual, k) for k in wanted]
        else:
            out.append((one.name, levels[0], levels[-1]))
    return list(dict.fromkeys(out))


def contrasts(
    pack: Pack,
    people: pd.DataFrame | Mapping[str, Any],
    names: Sequence[str],
    *,
    draws: int = 1,
    seed: int = 0,
    resolution: int = 1,
    measures: Sequence[Measures] = (TISSUE_VOLUMES,),
    where: Where | None = None,
    bootstraps: int = BOOTSTRAPS,
    batch: int | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Finite differences between levels of features, all else equal: contrasts, not gradients.

    Everybody's level is set to the one, then to the other, whatever it was; see `comparisons`. Arguments as for
    `gradients` and `summarise`.

    Args:
        names: features or encoded columns; numeric ones are passed over.

    Returns:
        Tidy, one row for each measure and contrast: `measure`, `feature`, `label` (`Sex: male − female`),
        `from_level`, `to_level`, `contrast_ml`, `low_ml`, `high_ml`, `sd_draws_ml`, `people`, `draws`.
    """
    _check(pack, resolution)
    encoded = encode(pack, people)
    keep = matching(pack, encoded.natural, where or {})
    if not keep.any():
        raise TableError(
            "nobody is in this subgroup", expected="at least one person", fix="widen the filters"
        )
    x = encoded.x[keep]
    z = latent_draws(pack, draws, seed)
    measured = tuple(name for group in measures for name in group.names)
    pairs = comparisons(pack, names)
    settings = list(dict.fromkeys((f, level) for f, *pair in pairs for level in pair))
    volumes: dict[tuple[str, str], NDArray[np.float64]] = {}
    owners = np.array(encoded.owners)
    for n, (feature, level) in enumerate(settings):
        own = owners == feature
        changed = x.copy()
        changed[:, own] = encode(pack, {feature: level}).x[0, own]
        volumes[feature, level] = _measured(
            pack, changed, z, resolution, measures, batch or _BATCH[resolution]
        )
        if progress is not None:
            progress(n + 1, len(settings))
    rows: list[dict[str, Any]] = []
    for feature, before, after in pairs:
        one = pack.schema.feature(feature)
        delta = volumes[feature, after] - volumes[feature, before]
        both, labels = _with_total(delta, measured)
        low, high = bootstrap_interval(both.mean(axis=1), bootstraps, 0)
        spread = sd_over_draws(both.mean(axis=0))
        for m, measure in enumerate(labels):
            rows.append(
                {
                    "measure": measure,
                    "feature": feature,
                    "label": f"{one.label}: {one.levels[after]} − {one.levels[before]}",
                    "from_level": before,
                    "to_level": after,
                    "contrast_ml": float(both[..., m].mean()),
                    "low_ml": float(low[m]),
                    "high_ml": float(high[m]),
                    "sd_draws_ml": float(spread[m]),
                    "people": len(x),
                    "draws": draws,
                }
            )
    columns = ["measure", "feature", "label", "from_level", "to_level", "contrast_ml", "low_ml", "high_ml"]
    return pd.DataFrame(rows, columns=[*columns, "sd_draws_ml", "people", "draws"])


def to_show(
    table: pd.DataFrame, contrast_table: pd.DataFrame | None, measure: str, count: int
) -> pd.DataFrame:
    """The most influential features for one measure, as rows of a chart or table.

    Args:
        table: as from `summarise`.
        contrast_table: as from `contrasts`; None: everything for each standard deviation. Otherwise numbers are shown
            for each natural unit and features with levels as contrasts, in the order of the table. Where one unit is
            more than 2 standard deviations, it is a tenth, hundredth, … of it (`natural_step`).
        count: how many.

    Returns:
        Columns `rank`, `column`, `label`, `value_ml`, `low_ml`, `high_ml`, `unit` (`mL per SD`, `mL per year`,
        `mL per 0.1 items`, `mL (contrast)`), `is_contrast`. Low and high are the 95 % bootstrap interval of the mean
        over people, or for one person the mean over draws ± their standard deviation (`band_name`).
    """
    part = table[table["measure"] == measure].head(count)
    rows: list[dict[str, Any]] = []
    told: set[tuple[str, frozenset[str]]] = set()
    for row in part.to_dict("records"):
        own: dict[str, Any] = {"rank": row["rank"], "column": row["column"], "label": row["label"]}
        if contrast_table is None:
            rows.append(own | _ends(row, "per_sd_ml", 1.0) | {"unit": "mL per SD", "is_contrast": False})
        elif row["kind"] == "numeric":
            step = natural_step(row["sd"])
            unit = per_step(row["label"], row["units"], step)
            rows.append(
                own | _ends(row, "per_sd_ml", row["sd"] / step) | {"unit": unit, "is_contrast": False}
            )
        else:
            mine = contrast_table[
                (contrast_table["measure"] == measure) & (contrast_table["feature"] == row["feature"])
            ]
            if row["kind"] == "nominal":
                mine = mine[mine["to_level"] == row["level"]]
            for contrast in mine.to_dict("records"):
                pair = row["feature"], frozenset((contrast["from_level"], contrast["to_level"]))
                if pair in told:  # the other way round, by the level that others are compared with
                    continue
                told.add(pair)
                said = {"label": contrast["label"], "unit": "mL (contrast)", "is_contrast": True}
                rows.append(own | _ends(contrast, "contrast_ml", 1.0) | said)
    columns = ["rank", "column", "label", "value_ml", "low_ml", "high_ml", "unit", "is_contrast"]
    return pd.DataFrame(rows, columns=columns)


def band_name(table: pd.DataFrame) -> str:
    """What `low_ml` and `high_ml` of `to_show` are."""
    if int(table["people"].iloc[0]) > 1:
        return "95 % bootstrap interval of the mean over people"
    return "spread over latent draws, ±1 SD" if int(table["draws"].iloc[0]) > 1 else ""


def flag_words(pack: Pack, found: Gradients, where: Where | None = None) -> str:
    """What was imputed, out of the training range or rare in a subgroup: how many people, and in which features.

    `3 of 12 people have values that were imputed, out of the training range or rare: Weight (3), Height (1).` The
    features with most people first, four of them, the rest counted; empty where there is nothing to tell.

    Raises:
        TableError: see `matching`.
    """
    flags = found.flags[matching(pack, found.natural, where or {})] != ""
    counts = flags.sum().sort_values(ascending=False, kind="stable")
    counts = counts[counts > 0]
    if counts.empty:
        return ""
    named = [f"{pack.schema.feature(str(k)).label} ({n})" for k, n in counts.head(_NAMED).items()]
    more = f" and {len(counts) - _NAMED} more" if len(counts) > _NAMED else ""
    return (
        f"{int(flags.any(axis=1).sum())} of {len(flags)} people have values that were imputed, out of the training "
        f"range or rare: {', '.join(named)}{more}."
    )


def with_provenance(table: pd.DataFrame, found: Gradients) -> pd.DataFrame:
    """A table with where it came from: pack, its hash, seed of the draws, voxel size of the maps in mm."""
    return table.assign(
        pack=found.pack_name,
        pack_hash=found.pack_hash,
        seed=found.seed,
        every_voxel=found.resolution == 1,
    )


def _ends(row: Mapping[Any, Any], value: str, scale: float) -> dict[str, float]:
    """Value with its interval, divided by a scale."""
    low, high = row["low_ml"], row["high_ml"]
    if np.isnan(low):
        low, high = row[value] - row["sd_draws_ml"], row[value] + row["sd_draws_ml"]
    return {"value_ml": row[value] / scale, "low_ml": low / scale, "high_ml": high / scale}


def voxel_map(
    pack: Pack, person: Mapping[str, Any], column: str, *, seed: int = 0, step: float = STEP_SD
) -> NDArray[np.float32]:
    """Where a feature acts: derivative of a person's maps with respect to one encoded column.

    A central finite difference, since torch has no forward mode for 3-D look-ups (`grid_sampler_3d`); a map needs
    two generated brains. Summed over voxels it is the gradient of the volumes.

    Args:
        column: an encoded column, as in `Gradients.columns`.
        step: half the distance of the two points, standard deviations.

    Returns:
        (3, 80, 128, 128) change of tissue fraction for each standard deviation, in the order of `TISSUES`.

    Raises:
        TableError: no such column, or see `generate.encode`.
    """
    shift = _shift(pack, column, step)
    y, z = torch.from_numpy(encode(pack, person).x[:1]), latent_draws(pack, 1, seed)
    with TURN, torch.inference_mode():
        above, below = _beside(pack, y, z, shift)
        return ((above - below) / (2 * step)).contiguous().numpy()


@dataclass(frozen=True, eq=False)
class MeanMap:
    """Where a feature acts, on average over people and latent draws."""

    change: NDArray[np.float32]
    """(3, 80, 128, 128) mean change of tissue fraction for each standard deviation, in the order of `TISSUES`."""
    anatomy: NDArray[np.float32]
    """(3, 80, 128, 128) mean tissue fractions of the same brains, with the step of the difference on either side."""
    natural: pd.DataFrame
    """(people, features): whose mean it is, the values that the model saw, index participant_id."""
    of: int
    """How many people there are in all."""
    draws: int
    seed: int


def mean_map(
    pack: Pack,
    people: pd.DataFrame | Mapping[str, Any],
    column: str,
    *,
    draws: int = 1,
    seed: int = 0,
    most: int = MAPS,
    step: float = STEP_SD,
    progress: Progress | None = None,
) -> MeanMap:
    """The mean of `voxel_map` over people and draws, from running sums: one person's brains at a time are in memory.

    Args:
        people: as for `gradients`.
        draws: of each person, the first of `latent_draws`, the same for everybody.
        most: maps that are averaged at most; see `averaged`.
        progress: told after every map.

    Raises:
        TableError: no such column, or see `generate.encode`.
        CSegSynthError: see `generate.latent_draws`.
    """
    shift, encoded = _shift(pack, column, step), encode(pack, people)
    rows, draws = averaged(len(encoded.x), draws, most)
    z = latent_draws(pack, draws, seed)
    change, middle = torch.zeros(()), torch.zeros(())
    for n, row in enumerate(rows):
        y = torch.from_numpy(encoded.x[row : row + 1])
        for d in range(draws):
            with TURN, torch.inference_mode():
                above, below = _beside(pack, y, z[d : d + 1], shift)
                change, middle = change + (above - below), middle + (above + below)
            if progress is not None:
                progress(n * draws + d + 1, len(rows) * draws)
    maps = 2 * len(rows) * draws
    return MeanMap(
        change=(change / (maps * step)).numpy(),
        anatomy=(middle / maps).numpy(),
        natural=encoded.natural.iloc[rows],
        of=len(encoded.x),
        draws=draws,
        seed=seed,
    )


def averaged(people: int, draws: int, most: int = MAPS) -> tuple[list[int], int]:
    """Which of so many people a mean map is of, and how many draws of each: `most` maps at most.

    People come before draws; of more than `most` people, as many are taken at even distances.
    """
    count = min(people, most)
    rows = [n * people // count for n in range(count)]
    return rows, max(1, min(draws, most // max(count, 1)))


def averaged_words(people: int, draws: int, most: int = MAPS) -> str:
    """`mean of 32 of 50 people, 1 draw each`: what a mean map is of."""
    rows, used = averaged(people, draws, most)
    of_draws = f"{used} of {draws} draws" if used < draws else f"{used} draw{'s' * (used > 1)}"
    if people == 1:
        return f"mean of {of_draws} of one person"
    of_people = f"{len(rows)} of {people}" if len(rows) < people else f"{people}"
    return f"mean of {of_people} people, {of_draws} each"


def _shift(pack: Pack, column: str, step: float) -> Float[Tensor, "1 columns"]:
    """A step of one encoded column, in its standard deviations.

    Raises:
        TableError: there is no such column.
    """
    if column not in pack.encoder.columns:
        raise TableError(
            f"no column {column!r}",
            expected=f"one of {', '.join(pack.encoder.columns[:12])}",
            fix=suggestion(column, pack.encoder.columns),
        )
    place = pack.encoder.columns.index(column)
    out = torch.zeros(1, pack.encoder.width)
    out[0, place] = step * float(pack.encoder.column_sd()[place])
    return out


def _beside(
    pack: Pack, y: Float[Tensor, "1 columns"], z: Float[Tensor, "1 latent"], shift: Float[Tensor, "1 columns"]
) -> tuple[Float[Tensor, "3 i j k"], Float[Tensor, "3 i j k"]]:
    """Tissue maps on the whole grid of a person with a feature a step above, and a step below."""
    above, below = (pack.model.on_grid(pack.model(y + s, z))[0, : len(TISSUES)] for s in (shift, -shift))
    return above, below


def _with_total(values: NDArray[Any], names: tuple[str, ...]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Values (…, measures) with the sum of the tissues added, where all three are there."""
    if not set(TISSUES) <= set(names):
        return values, names
    total = values[..., [names.index(t) for t in TISSUES]].sum(axis=-1, keepdims=True)
    return np.concatenate([values, total], axis=-1), (*names, TOTAL)


def _measured(
    pack: Pack,
    x: NDArray[np.float32],
    z: Float[Tensor, "draws latent"],
    resolution: int,
    measures: Sequence[Measures],
    batch: int,
) -> NDArray[np.float64]:
    """Measures of every person and draw, shape (people, draws, measures)."""
    draws = len(z)
    total = len(x) * draws
    out = []
    with torch.inference_mode():
        for start in range(0, total, batch):
            rows = torch.arange(start, min(start + batch, total))
            maps = pack.model(torch.from_numpy(x)[rows // draws], z[rows % draws], resolution)
            found = [one for group in measures for one in group.of(maps, resolution)]
            out.append(torch.stack(found, dim=1).numpy())
    return np.concatenate(out).astype(float).reshape(len(x), draws, -1)


def _columns(pack: Pack, columns: Sequence[str]) -> pd.DataFrame:
    """What is to be said about each encoded column."""
    rows = []
    for column, owner in zip(columns, pack.encoder.owners, strict=True):
        one = pack.schema.feature(owner)
        level = column[len(owner) + 1 :] if one.kind == "nominal" and column != owner else ""
        if one.kind == "binary":
            level = list(one.levels)[1]  # a larger code means this one
        stats = pack.encoder.numeric[owner] if one.is_numeric else pack.encoder.levels[owner]
        rows.append(
            {
                "feature": owner,
                "column": column,
                "label": f"{one.label}: {one.levels[level]}" if level else one.label,
                "level": level,
                "kind": one.kind,
                "group": one.group,
                "sd": np.nan if one.kind == "nominal" else stats.sd,
                "units": one.units,
                "varies": stats.sd > 0,
            }
        )
    return pd.DataFrame(rows)


def _check(pack: Pack, resolution: int) -> None:
    """Refuse a resolution that the generator does not have."""
    possible = pack.model.resolutions
    if resolution not in possible:
        raise CSegSynthError(
            f"the generator of pack {pack.name} does not work at resolution {resolution}",
            expected=f"one of {', '.join(map(str, possible))} (times 2 mm)",
            got=str(resolution),
        )
