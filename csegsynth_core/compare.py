"""Scenarios side by side: the same latent draws for all, so that they differ by features alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from csegsynth_core.data.feature import Feature
from csegsynth_core.data.tables import ID, read_table
from csegsynth_core.data.volume_centiles import KINDS
from csegsynth_core.errors import TableError
from csegsynth_core.generate import draw_by_draw, over_draws, sd_over_draws
from csegsynth_core.pack import Pack
from csegsynth_core.regions import region_volumes_ml
from csegsynth_core.scenario_checks import MAX_NAME, check_name, made_name, shortened
from csegsynth_core.substructures import REGIONS
from csegsynth_core.tissue import TISSUES
from csegsynth_core.volumes import volumes_ml

FIRST: Final = "Current person"
YEARS: Final = 10.0
MAX_SCENARIOS: Final = 6


def influence_order(pack: Pack) -> list[str]:
    """Features, most influential first by the pack's own measurement (largest change in mL of any tissue); in
    the order of the schema where there is none."""
    measured = pack.metrics.get("influence") or {}

    def size(name: str) -> float:
        found = measured.get(name)
        values = (
            [v for v in found.values() if isinstance(v, int | float)] if isinstance(found, Mapping) else []
        )
        return max((abs(v) for v in values if np.isfinite(v)), default=0.0)

    return sorted(pack.schema.names, key=lambda name: -size(name))


def sidebar_order(pack: Pack) -> list[str]:
    """Age and sex, then the others, most influential first."""
    usual = [one.name for one in (pack.schema.age, pack.schema.sex) if one is not None]
    return [*usual, *(n for n in influence_order(pack) if n not in usual)]


def starting_scenarios(pack: Pack, person: Mapping[str, Any]) -> pd.DataFrame:
    """A person and two variants to start from: ten years older (younger at the end of the training ages, fewer years
    where neither fits), and the most influential feature that a life can change set to another value.

    Returns:
        One row for each scenario, index its name, columns in the order of the schema; None for unknown.
    """
    return table_of(pack, starting_people(pack, person))


def starting_people(pack: Pack, person: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """People of `starting_scenarios` by names that `check_name` takes, whatever the pack calls its features."""
    rows: dict[str, dict[str, Any]] = {FIRST: {name: person.get(name) for name in pack.schema.names}}
    age = pack.schema.age
    if age is not None and person.get(age.name) is not None:
        step = _years(pack, age, float(person[age.name]))
        if step:
            title = f"{abs(step):g} year{'s' * (abs(step) != 1)} {'older' if step > 0 else 'younger'}"
            rows[title] = rows[FIRST] | {age.name: float(person[age.name]) + step}
    for name in _changeable(pack):
        one = pack.schema.feature(name)
        value = _other_value(pack, one, person.get(name))
        if value is not None:
            said = one.levels[str(value)] if one.levels else f"{value:g} {one.units}".strip()
            said = shortened(said, MAX_NAME // 2)
            title = f"{shortened(one.label, MAX_NAME - len(f': {said}'))}: {said}"
            rows[made_name(title, rows)] = rows[FIRST] | {name: value}
            break
    return rows


def table_of(pack: Pack, people: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """People by the names of their scenarios as a table, as from `starting_scenarios`."""
    records = [{name: one.get(name) for name in pack.schema.names} for one in people.values()]
    index = pd.Index(list(people), name="scenario", dtype=object)
    return pd.DataFrame(records, index=index, columns=list(pack.schema.names), dtype=object)


def filled(pack: Pack, edited: pd.DataFrame, start: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """People of an edited table of scenarios; empty cells, and features without a column, are as in `start`.

    Args:
        edited: a column `scenario` and any features.

    Raises:
        TableError: fewer than one or more than six scenarios, two with the same name, or a name that `check_name`
            refuses.
    """
    out: dict[str, dict[str, Any]] = {}
    for n, row in enumerate(edited.to_dict("records")):
        given = row.pop("scenario", None)
        name = " ".join(given.split()) if isinstance(given, str) and given.strip() else f"Scenario {n + 1}"
        check_name(name, f"scenario {n + 1}", TableError)
        if name in out:
            raise TableError(f"two scenarios are named {name!r}", fix="give each its own name")
        changed = {str(k): v for k, v in row.items() if not (v is None or v != v)}
        out[name] = {k: start.get(k) for k in pack.schema.names} | changed
    if not 1 <= len(out) <= MAX_SCENARIOS:
        raise TableError(
            "unusable number of scenarios", expected=f"1 to {MAX_SCENARIOS} rows", got=str(len(out))
        )
    return out


def changed(pack: Pack, edited: pd.DataFrame, start: Mapping[str, Any]) -> list[str]:
    """Features in which some scenario differs from the person that the table starts from, as `filled` understands it.

    Args:
        edited: any features; an empty cell is as in `start`.
    """

    def differs(value: Any, usual: Any) -> bool:
        return not (value is None or value != value or value == usual)

    return [n for n in pack.schema.names if n in edited and any(differs(v, start.get(n)) for v in edited[n])]


def kept(before: pd.DataFrame, edited: pd.DataFrame) -> pd.DataFrame:
    """An edited table with the columns that were not shown, so that they are there when they are shown again.

    Args:
        before: the table as it was, all columns, numbered rows.
        edited: some of its columns after rows were changed, added or taken away; rows keep their numbers.

    Returns:
        All columns of `before`, rows of `edited` numbered anew; None in what no row has.
    """
    out = before.astype(object).reindex(index=edited.index, columns=before.columns)
    out[list(edited.columns)] = edited.astype(object)
    return out.where(out.notna(), None).reset_index(drop=True)


def read_scenarios(
    pack: Pack, content: bytes, name: str, start: Mapping[str, Any]
) -> tuple[pd.DataFrame, list[str]]:
    """Scenarios from a user's file: a column `scenario` (or `participant_id`) and any features.

    Args:
        content: of a TSV, CSV or Excel file.
        name: of the file, for messages.
        start: what empty cells, and features without a column, are taken from.

    Returns:
        As from `starting_scenarios`; and columns that the pack does not know, which are left out.

    Raises:
        TableError: the file cannot be used (names file, row and column), or too many scenarios.
    """
    table = read_table(content, name=name, require_id=False)
    names = [str(v) if v else f"Scenario {n + 1}" for n, v in enumerate(table.get("scenario", table[ID]))]
    rows, unknown = pack.schema.known_of(table.drop(columns=[c for c in ("scenario", ID) if c in table]))
    parsed = pack.schema.validate(rows, source=name)
    parsed.refuse_implausible("correct the cell; an empty one is as in the person that scenarios start from")
    records = [
        {str(k): start.get(str(k)) if v is None or v != v else v for k, v in row.items()}
        for row in parsed.data.to_dict("records")
    ]
    index = pd.Index(names, name="scenario", dtype=object)
    frame = pd.DataFrame(records, index=index, columns=list(pack.schema.names), dtype=object)
    filled(pack, frame.reset_index(), start)  # refuses too many, and names that come twice
    return frame, unknown


def volumes_of_draws(
    pack: Pack, person: Mapping[str, Any], *, draws: int, seed: int = 0, regions: bool = False
) -> NDArray[np.float32]:
    """Volumes of several latent draws of one person, mL: (draws, 3), with regions (draws, 3 + regions).

    The regions are those of `substructures.REGIONS`, as the parcellation network reads them.

    Raises:
        TableError: see `csegsynth_core.generate.encode`.
    """
    return over_draws(pack, person, partial(_volumes_of, regions=regions), draws=draws, seed=seed)[0]


def volumes_draw_by_draw(
    pack: Pack, person: Mapping[str, Any], *, draws: int, seed: int = 0, regions: bool = False, start: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Rows of `volumes_of_draws`, one after the other, from the draw `start` on; see `generate.draw_by_draw`."""
    measure = partial(_volumes_of, regions=regions)
    return draw_by_draw(pack, person, measure, draws=draws, seed=seed, start=start)


def _volumes_of(maps: Tensor, *, regions: bool) -> Tensor:
    """Tissues, and where wanted regions, of maps inside the model's region: mL, (n, 3 or 3 + regions)."""
    ml = volumes_ml(maps)[:, : len(TISSUES)]
    return torch.cat([ml, region_volumes_ml(maps)], dim=1) if regions else ml


def compared(names: Sequence[str], volumes: NDArray[np.floating[Any]]) -> pd.DataFrame:
    """Volumes of scenarios and their paired differences to the first one.

    Args:
        names: of the scenarios.
        volumes: (scenarios, draws, 3) mL, the same draws for all, in pairs (`generate.latent_draws`); or with the
            regions after the tissues, as from `volumes_of_draws`.

    Returns:
        Tidy: `scenario`, `measure` (`wm`, `gm`, `csf`, `wm+gm+csf`, then names of regions), `mean_ml` and
        `sd_draws_ml` over draws, `difference_ml`, `difference_sd_draws_ml` and `difference_percent` to the first
        scenario, draw by draw; `draws`. The standard deviations (NaN for one draw) are spreads of the model's draws,
        not intervals for people.
    """
    values = np.asarray(volumes, float)
    tissues = values[:, :, : len(TISSUES)]
    values = np.concatenate(
        [tissues, tissues.sum(axis=2, keepdims=True), values[:, :, len(TISSUES) :]], axis=2
    )
    measures = [*KINDS, *(r.name for r in REGIONS)][: values.shape[2]]
    change = values - values[:1]
    draws = values.shape[1]
    rows = []
    for s, name in enumerate(names):
        for m, measure in enumerate(measures):
            own, paired = values[s, :, m], change[s, :, m]
            first = float(values[0, :, m].mean())
            rows.append(
                {
                    "scenario": name,
                    "measure": measure,
                    "mean_ml": float(own.mean()),
                    "sd_draws_ml": float(sd_over_draws(own)),
                    "difference_ml": float(paired.mean()),
                    "difference_sd_draws_ml": float(sd_over_draws(paired)),
                    "difference_percent": 100 * float(paired.mean()) / first if first else float("nan"),
                    "draws": draws,
                }
            )
    return pd.DataFrame(rows)


def with_features(table: pd.DataFrame, people: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """`compared` with every scenario's features as further columns."""
    features = pd.DataFrame.from_dict({k: dict(v) for k, v in people.items()}, orient="index", dtype=object)
    return table.join(features, on="scenario")


def _changeable(pack: Pack) -> list[str]:
    """Features that a life can change: lifestyle, then interview, then others, the most influential first."""
    fixed = {one.name for one in (pack.schema.age, pack.schema.sex) if one is not None}
    order = influence_order(pack)
    groups = ("lifestyle", "interview", "cognitive", "demographic")
    return sorted(
        (n for n in order if n not in fixed),
        key=lambda n: (groups.index(pack.schema.feature(n).group), order.index(n)),
    )


def _years(pack: Pack, age: Feature, start: float) -> float:
    """Years from an age to another one within the training and the plausible range: as near to `YEARS` as whole
    years allow, rather older than younger; 0 where none fit."""
    stats = pack.encoder.numeric[age.name]
    low, high = age.plausible or (stats.minimum, stats.maximum)
    low, high = max(low, stats.minimum), min(high, stats.maximum)
    steps = (float(sign * years) for years in range(int(YEARS), 0, -1) for sign in (1, -1))
    return next((s for s in steps if low <= start + s <= high), 0.0)


def _other_value(pack: Pack, one: Feature, value: Any) -> float | str | None:
    """Another usual value of a feature: its most frequent other level, or one standard deviation up; None where
    there is none."""
    if one.levels:
        counts = pack.encoder.levels[one.name].counts
        others = [k for k in sorted(counts, key=lambda k: -counts[k]) if k != value and counts[k] >= 3]
        return others[0] if others else None
    stats = pack.encoder.numeric[one.name]
    start = stats.mean if value is None else float(value)
    step = stats.sd if start + stats.sd <= stats.maximum else -stats.sd
    other = start + step
    other = float(round(other)) if one.integer else float(f"{other:.3g}")
    return None if stats.sd <= 0 or other == start else other
