"""What a sweep becomes: lines of a figure, tables, a methods paragraph, citations, one zip with everything."""

from __future__ import annotations

import io
import json
import math
import re
import shlex
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import pandas as pd

from csegsynth_core import RESEARCH_USE, __version__
from csegsynth_core.changes import Change
from csegsynth_core.coverage import people_called, unusual_ages
from csegsynth_core.data.encoder import span
from csegsynth_core.data.schema import Schema
from csegsynth_core.export import bids_files
from csegsynth_core.figure_export import ALL_AGAIN, OWN_PACK, Tell, csv, template, untold
from csegsynth_core.figures.trajectory import (
    ACROSS,
    CI_NOTE,
    LEGEND_ROW,
    Line,
    Reference,
    has_centiles,
    legend_rows,
    shown_volumes,
    trajectory_figure,
)
from csegsynth_core.generate import WITHOUT_NOISE, Brain, encode
from csegsynth_core.methods_text import bibtex
from csegsynth_core.pack import Pack, found_by_name
from csegsynth_core.scenario_checks import made_name, shortened
from csegsynth_core.scenario_file import THIS_PERSON, Overlay
from csegsynth_core.scenarios import (
    DRAW_TOLERANCE,
    OWN_TOLERANCE,
    REGIONS_TOLERANCE,
    VOLUMES,
    Plan,
    Sweep,
    change_percent,
    paths,
    sample,
    unusual_in,
)
from csegsynth_core.static_figures import COLUMN_MM, FORMATS, PAGE_MM, every_form, trajectory_file
from csegsynth_core.substructures import REGIONS
from csegsynth_core.uncertainty import CI_NAME, fitted_lines, spread_name, trajectory

_CONTENTS: Final = """\
trajectory.*, regions.*  figures for a column (88 mm) and a page (180 mm: _wide), and interactive (html)
trajectory.csv, regions.csv  what they show at the ages of the sweep; *_line.csv: regression lines as drawn
centiles.csv  cohort centiles behind the volumes, mL
volumes.csv, features.csv  every scenario, age and draw, mL; every feature along the way
people*.csv  the people swept; settings.json, methods.txt, citation.bib  how, in full and in words
scenario.json  the view, to be opened in the app; maps_*/  tissue maps (NIfTI, BIDS), where they were asked for
"""

_WITHOUT_NOISE: Final = f"""\
Draw {WITHOUT_NOISE} in volumes.csv is the brain without noise, which lines are drawn through: leave it out of means
and spreads over draws.
"""

UNUSUAL: Final = "⚠"
"""Marks a value that is unusual at an age."""

Named = tuple[str, Sweep]
"""What a person is called in legends, and their sweep."""

_SAID: Final = 32  # characters that say what differs in a name: more have no room in a legend
NO_CHANGE: Final = "no change at an age"
"""What differs in an overlay whose features stay while some of the current person's change."""
_WITH_WHO: Final = re.compile(r"([A-J]) \(.*, draw [0-9]+\)")
"""Overlays' names in some files and links: they say who, not what differs."""


def own_name(schema: Schema, changes: Sequence[Change]) -> str:
    """What the current person is called in legends, by what changes at an age: `this person (Retired from 60)`."""
    if not changes:
        return THIS_PERSON
    more = f" +{len(changes) - 1}" if len(changes) > 1 else ""
    return f"{THIS_PERSON} ({_change_in_words(schema, changes[0])}{more})"


def overlay_names(
    schema: Schema,
    person: Mapping[str, Any],
    seed: int,
    overlays: Sequence[Overlay],
    changes: Sequence[Change] = (),
) -> list[str]:
    """What overlaid people are called where `person` is shown: by what differs, two differences at most.

    Args:
        person: natural values by feature of the current person.
        seed: draw of the current person.
        changes: what changes at an age in the current person.

    Returns:
        For each overlay its own name with the differences, such as `B (height 179 cm, smoker yes +2)`; with sex, age
        and draw where nothing differs, as in `B (female, 48 years, draw 0)`. No two are the same.
    """
    out: list[str] = []
    taken = [THIS_PERSON, own_name(schema, changes)]
    for one in overlays:
        differing = [n for n in schema.names if one.person.get(n) != person.get(n)]
        parts = [_value_in_words(schema, name, one.person.get(name)) for name in differing]
        if set(one.changes) != set(changes):
            parts = [_change_in_words(schema, c) for c in one.changes] + parts
            parts += [] if one.changes else [NO_CHANGE]
        parts += [f"draw {one.seed}"] * (one.seed != seed)
        same = f"{schema.describe(one.person)}, draw {one.seed}".removeprefix(", ")
        said = shortened(parts[0], _SAID) if parts else same
        shown = min(len(parts), 1)
        if len(parts) > 1 and len(f"{said}, {parts[1]}") <= _SAID:
            said, shown = f"{said}, {parts[1]}", 2
        more = f" +{len(parts) - shown}" if len(parts) > shown else ""
        letter = _WITH_WHO.fullmatch(one.name)
        out.append(made_name(f"{letter[1] if letter else one.name} ({said}{more})", [*taken, *out]))
    return out


def _change_in_words(schema: Schema, change: Change) -> str:
    """`Retired from 60`, `smoker no from 50`: a level alone where no other feature has one of its name."""
    feature, tail = schema.feature(change.feature), f" from {change.age:g}"
    said = feature.levels.get(str(change.value), "")
    owners = [one.name for one in schema.features if said in one.levels.values()]
    words = said if owners == [feature.name] else _value_in_words(schema, feature.name, change.value)
    return f"{shortened(words, _SAID - len(tail))}{tail}"


def _value_in_words(schema: Schema, name: str, value: Any) -> str:
    """`height 179 cm`, `smoker yes`; a sex and a known age alone, as `Schema.describe` says them."""
    feature = schema.feature(name)
    if value is not None and feature in (schema.sex, schema.age):
        return schema.describe({name: value})
    said = "unknown" if value is None else feature.said(value)
    label = feature.label
    return f"{label if label[1:2].isupper() else label[:1].lower() + label[1:]} {said}"


def lines_of(
    people: Sequence[Named], *, unit: str = "ml", measures: Sequence[str] | None = VOLUMES
) -> list[Line]:
    """Lines of the trajectory figure: for every person, one for each scenario.

    Args:
        unit: `ml`, or `percent` for % change from the first age of the same draw.
        measures: volumes wanted; None: all of `MEASURES`.
    """
    out = []
    for who, (name, one) in enumerate(people):
        volumes = one.volumes if unit == "ml" else change_percent(one.volumes)
        breaks = one.plan.breaks
        frame, curves = trajectory(volumes, measures, breaks), fitted_lines(volumes, measures, breaks)
        for way, scenario in enumerate(one.plan.scenarios):
            title = scenario
            if scenario == "regressed" and one.plan.keep_distance:
                title = "regressed, own distance kept"
            rows, curve = frame[frame["scenario"] == scenario], curves[curves["scenario"] == scenario]
            tables = rows.assign(person=name), curve.assign(person=name)
            out.append(Line(f"{name}: {title}", *tables, who=who, way=way))
    return out


def reference_of(pack: Pack, one: Sweep) -> Reference:
    """Centiles of the pack's reference people of the same sex, between the ages of the sweep, within their range."""
    span = one.plan.ages[[0, -1]].clip(*pack.centiles.ages(None))
    years = np.linspace(span[0], span[1], 61)
    sex = pack.schema.sex
    own = str(one.person[sex.name]) if sex else None
    own = own if own in pack.centiles.sexes else None
    people = people_called(sex.levels[own]) if sex and own else "people"
    curves = [pack.centiles.curve(k, own, years).assign(volume=k) for k in pack.centiles.kinds]
    rows = pd.concat(curves, ignore_index=True)
    kind = "simulated training cohort" if pack.simulated else "training cohort"
    return Reference(f"{pack.centiles.people(own)} {people} of the {kind}", rows[rows["inside"]])


def warnings_of(pack: Pack, plan: Plan) -> list[str]:
    """What has to be said of a plan before its sweep is shown: ages beyond the training range, changes that are not
    reached."""
    age = pack.schema.age
    if age is None:
        return []
    stats = pack.encoder.numeric[age.name]
    ages = plan.ages
    outside = int(((ages < stats.minimum) | (ages > stats.maximum)).sum())
    out = [
        f"{outside} of {len(ages)} ages lie outside the training range ({span(age, stats.minimum, stats.maximum)}) "
        "and are marked: the model extrapolates there."
    ]
    late = [_change_in_words(pack.schema, one) for one in plan.changes if one.age > ages[-1]]
    return out[: bool(outside)] + [f"{words}: after the last age, without effect." for words in late]


def unusual_of(pack: Pack, person: Mapping[str, Any], plan: Plan) -> list[tuple[str, str]]:
    """At which ages of a sweep which values are such as few or no training people of that age and sex have.

    Args:
        person: natural values by feature; None for unknown.

    Returns:
        Label of the feature and words, such as `Occupation` and `Retired, unusual among women of 20–44 years
        (ideal)`; without the scenario where it is so in all of the plan. Before them, values that features change to
        and that lie outside the training range or are rare, and numbers that become 0 with a change.

    Raises:
        CSegSynthError, TableError: see `csegsynth_core.scenarios.path`.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for scenario, frame in paths(pack, person, plan).items():
        for one in unusual_ages(pack, frame):
            found.setdefault((one.label, one.words), []).append(scenario)
    flagged = []
    for change in plan.changes:
        flag = encode(pack, {change.feature: change.value}).flags_of(0).get(change.feature)
        feature = pack.schema.feature(change.feature)
        if flag is not None:
            flagged.append((feature.label, f"{feature.said(change.value)} from {change.age:g}, {flag}"))
    flagged += _zeroed(pack, person, plan)
    everywhere = len(plan.scenarios)
    return flagged + [
        (label, words if len(of) == everywhere else f"{words} ({', '.join(of)})")
        for (label, words), of in found.items()
    ]


def _zeroed(pack: Pack, person: Mapping[str, Any], plan: Plan) -> list[tuple[str, str]]:
    """Numbers of the person that become 0 because another feature changes: label, and `0 from 65 on, as …`."""
    if not plan.keep_distance and "ideal" not in plan.scenarios:
        return []
    own = encode(pack, person).natural.iloc[0].to_dict()
    out = []
    for one, rule in pack.schema.dependent:
        if not own[one.name] or not rule.met(own[rule.feature]):
            continue
        other = pack.schema.feature(rule.feature)
        given = min((c.age for c in plan.changes if c.feature == one.name), default=math.inf)
        for c in plan.changes:
            if c.feature == other.name and c.age < given and not rule.met(c.value):
                out.append((one.label, f"0 from {c.age:g} on, as {other.label} is {other.said(c.value)}"))
    return out


def path_sample(one: Sweep, scenario: str, count: int) -> pd.DataFrame:
    """Rows of a path at no more than `count` ages: the first one, every n-th step after it, and the last one."""
    rows = one.features[one.features["scenario"] == scenario].reset_index(drop=True)
    return rows.iloc[sample(one.plan, count)].reset_index(drop=True)


def feature_table(one: Sweep, pack: Pack, scenario: str, count: int) -> pd.DataFrame:
    """Every feature in words: columns `Feature`, `Units`, `now`, and one for each age of `path_sample`; values that
    are unusual at an age end in `UNUSUAL`."""
    rows = path_sample(one, scenario, count)
    assert pack.schema.age is not None  # noqa: S101 - there would be no sweep
    years = pack.schema.age.name
    ages = rows[years].to_numpy(float)

    odd = [unusual_in(told) for told in rows["unusual"]]

    def said(name: str, value: Any) -> str:
        feature = pack.schema.feature(name)
        return f"{float(value):.4g}" if feature.is_numeric else feature.levels[str(value)]

    out = []
    for feature in pack.schema.features:
        if feature.name == years:
            continue
        line = {
            "Feature": feature.label,
            "Units": feature.units,
            "now": said(feature.name, one.person[feature.name]),
        }
        line |= {
            f"{float(ages[i]):g}": said(feature.name, rows[feature.name].iloc[i])
            + (f" {UNUSUAL}" if feature.name in odd[i] else "")
            for i in range(len(rows))
        }
        out.append(line)
    return pd.DataFrame(out)


def figure_table(lines: Sequence[Line]) -> pd.DataFrame:
    """The tidy table behind the trajectory figure, at the ages of the sweep."""
    return pd.concat([one.data.assign(line=one.name) for one in lines], ignore_index=True)


def line_table(lines: Sequence[Line]) -> pd.DataFrame:
    """The regression lines and intervals of the trajectory figure at the many ages at which they are drawn."""
    return pd.concat([one.curve.assign(line=one.name) for one in lines], ignore_index=True)


def note(one: Sweep) -> str:
    """One line that belongs to every figure of a sweep."""
    simulated = "SIMULATED training data. " if one.simulated else ""
    return (
        f"{simulated}Synthetic volumes, CSegSynth pack {one.pack_name} ({one.pack_hash[:12]}); not a forecast"
    )


def figure_note(one: Sweep) -> str:
    """What belongs below every trajectory figure of a sweep: `note`, and what the narrow bands are."""
    return f"{note(one)}. {CI_NOTE}"


def methods(one: Sweep, *, unit: str = "ml") -> str:
    """A methods paragraph with the settings of a sweep, ready to paste."""
    parts = [
        f"Synthetic brain tissue maps were generated with CSegSynth {__version__} (Wang et al. 2025; model pack "
        f"{one.pack_name}, SHA-256 {one.pack_hash[:12]}"
        + ("; trained on SIMULATED people)." if one.simulated else ")."),
        "Volumes are sums of tissue fractions times voxel volume, in mL; those of regions are sums over the parcels "
        "that a convolutional network reads off the tissue maps.",
        plan_methods(one.plan, one.trained_ages, unit=unit, schema=one.schema),
        "The model was trained on cross-sectional data: trajectories are hypotheses about a population, not "
        "forecasts for a person.",
    ]
    return " ".join(parts)


def plan_methods(
    plan: Plan, trained_ages: tuple[float, float], *, unit: str = "ml", schema: Schema | None = None
) -> str:
    """What a sweep of this plan computes, in sentences.

    Args:
        trained_ages: youngest and oldest of the training people, years.
        unit: `ml`, or `percent`.
        schema: labels of the features that change at an age; None: they are called as in tables.
    """
    ages = plan.ages
    parts = [
        f"Age was swept from {ages[0]:g} to {ages[-1]:g} years in {len(ages)} ages (step {plan.step:g} years)."
    ]
    if "ideal" in plan.scenarios:
        changed = ", apart from the changes told below" if plan.changes else ""
        parts.append(f'In the "ideal" scenario all features but age stayed as they were{changed}.')
    if "regressed" in plan.scenarios:
        how = (
            "was moved by the change of its regression since the person's own age (keeping the person's own "
            "distance from the regression)"
            if plan.keep_distance
            else "took the value of its regression"
        )
        parts.append(
            'In the "regressed" scenario every feature but age and sex '
            f"{how}: a third-order polynomial of age fitted by least squares to the training people of the same "
            "sex (of all people where fewer than 12 had a value); numbers were kept within the training range, and "
            "features with levels kept to their levels."
        )
    if schema is not None and schema.dependent:
        zero = ", ".join(one.label for one, _ in schema.dependent)
        parts.append(
            f"Numbers that were 0 in training for everybody with some value of another feature ({zero}) were 0 "
            "wherever that feature had such a value."
        )
    if plan.changes:
        parts.append(f"In every scenario, {_changes_in_a_sentence(plan.changes, schema)}.")
    still = plan.seed == 0
    shown = "the brain without noise" if still else "the first draw"
    if still and plan.draws == 1:
        parts.append("The latent noise was set to zero; the same holds at every age.")
    else:
        times = f"{plan.draws} time{'s' if plan.draws > 1 else ''} (seed {plan.seed})"
        parts.append(f"The latent code was drawn {times}; the same draws were used at every age.")
    if plan.exact:
        parts.append("Every age and draw was decoded.")
    else:
        parts.append(
            "Some of the ages were decoded; volumes at the others were read off a Gaussian-process surface over the "
            "model's codes, refined until newly decoded brains had been predicted within "
            f"{100 * OWN_TOLERANCE:g} % ({shown.removeprefix('the ')})"
            + (f" or {100 * DRAW_TOLERANCE:g} % (further draws)" if plan.draws > 1 else "")
            + f", regions within {REGIONS_TOLERANCE:g} times that."
        )
    if unit == "percent":
        parts.append("Changes are in % of the first age of the same draw.")
    mean = CI_NAME.split(" (")[0]
    stepped = ", with a step at the age of each change," if plan.changes else ""
    parts.append(
        f"Lines are cubic least-squares regressions of volume on age{stepped} through {shown}, with the {mean} "
        "(of the fitted curve through one draw, not between people)"
        + (f"; wider bands are the {spread_name(plan.draws)}." if plan.draws > 1 else ".")
    )
    low, high = trained_ages
    if ages[0] < low or ages[-1] > high:
        parts.append(f"Ages outside the training range ({low:.3g}–{high:.3g} years) are extrapolations.")
    return " ".join(parts)


def _changes_in_a_sentence(changes: Sequence[Change], schema: Schema | None) -> str:
    """`Occupation was set to Retired from the age of 60 years on, …`, by rising age."""
    out = []
    for one in sorted(changes, key=lambda one: one.age):
        label, said = one.feature, f"{one.value}"
        if schema is not None:
            feature = schema.feature(one.feature)
            label, said = feature.label, feature.said(one.value)
        out.append(f"{label} was set to {said} from the age of {one.age:g} years on")
    return " and ".join([", ".join(out[:-1])] * (len(out) > 1) + out[-1:])


def methods_of(people: Sequence[Named], *, unit: str = "ml") -> str:
    """`methods` of everybody: a paragraph for each plan, headed by names where there are several plans."""
    plans = list(dict.fromkeys(one.plan for _, one in people))
    parts = []
    for plan in plans:
        mine = [(name, one) for name, one in people if one.plan == plan]
        who = f"For {', '.join(name for name, _ in mine)}: " if len(plans) > 1 else ""
        parts.append(who + methods(mine[0][1], unit=unit))
    return "\n\n".join(parts)


def volume_table(people: Sequence[Named]) -> pd.DataFrame:
    """Volumes of everybody at every age and draw, mL; with several people a column `person`."""
    return _together([(name, one.volumes) for name, one in people])


def feature_rows(people: Sequence[Named]) -> pd.DataFrame:
    """Features of everybody along their paths; with several people a column `person`."""
    return _together([(name, one.features) for name, one in people])


def _together(tables: Sequence[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    if len(tables) == 1:
        return tables[0][1]
    out = pd.concat([table.assign(person=name) for name, table in tables], ignore_index=True)
    return out[["person", *(c for c in out.columns if c != "person")]]


def command(one: Sweep, *, table: str = "people.csv", out: str = "DIR") -> str:
    """The command line that makes the same numbers again from a table of people."""
    return plan_command(one.plan, one.pack_name, table=table, out=out)


def plan_command(plan: Plan, pack_name: str, *, table: str = "people.csv", out: str = "DIR") -> str:
    """The command line of a sweep of a table of people."""
    scenario = "both" if len(plan.scenarios) > 1 else plan.scenarios[0]
    words = [
        "python",
        "-m",
        "csegsynth_core",
        "sweep",
        "--pack",
        pack_name,
        "--table",
        table,
        "--out",
        out,
    ]
    words += ["--from", f"{plan.start:g}", "--to", f"{plan.stop:g}", "--step", f"{plan.step:g}"]
    words += ["--draws", str(plan.draws), "--scenario", scenario, "--seed", str(plan.seed)]
    words += ["--keep-distance"] * plan.keep_distance + ["--exact"] * plan.exact
    words += [word for one in plan.changes for word in ("--change", one.text)]
    return " ".join(shlex.quote(w) for w in words)


def repeated(people: Sequence[Named]) -> tuple[dict[str, bytes], list[str]]:
    """What makes the volumes of everybody again: a table and a command for each plan, since a command has one draw
    to start from and one choice of scenarios.

    Returns:
        Tables of people as CSV by name (`people.csv`, `people2.csv`, …), `sub-01` being the first of `people`, and
        the command lines that read them, to be run in the tables' folder; they write to `OUT`, `OUT2`, ….
    """
    named = [(f"sub-{k + 1:02d}", one) for k, (_, one) in enumerate(people)]
    tables, commands = {}, []
    for k, plan in enumerate(dict.fromkeys(one.plan for _, one in named)):
        mine = [(i, one) for i, one in named if one.plan == plan]
        table = pd.DataFrame([{"participant_id": i, **one.person} for i, one in mine])
        name, out = (f"people{k + 1 if k else ''}.csv", f"OUT{k + 1 if k else ''}")
        tables[name] = table.to_csv(
            index=False, na_rep="n/a"
        ).encode()  # every digit, so that nothing changes
        commands.append(command(mine[0][1], table=name, out=out))
    return tables, commands


def html_file(
    lines: Sequence[Line], reference: Reference | None, one: Sweep, *, unit: str, age_units: str = "years"
) -> bytes:
    """The interactive figure as a page that needs no network."""
    height = 460 if len(shown_volumes(lines)) <= ACROSS else 620
    height += LEGEND_ROW * max(legend_rows(lines, reference, one.trained_ages) - 3, 0)
    look: dict[str, Any] = {"unit": unit, "age_units": age_units, "height": height}
    look["note"] = f"{note(one)}<br>{CI_NOTE}"
    figure = trajectory_figure(lines, reference, trained=one.trained_ages, **look)
    figure.update_layout(template=template(), paper_bgcolor="#FFFFFF", title=None)
    return figure.to_html(include_plotlyjs=True, full_html=True, div_id="volumes-over-age").encode()


def figure_files(
    lines: Sequence[Line],
    reference: Reference | None,
    one: Sweep,
    *,
    unit: str,
    age_units: str = "years",
    stem: str = "trajectory",
) -> dict[str, bytes]:
    """The trajectory figure in every form, for a column and for a page, with its tables."""
    out: dict[str, bytes] = {}
    for suffix, width in (("", COLUMN_MM), ("_wide", PAGE_MM)):
        with every_form() as made:
            trajectory_file(
                lines,
                reference,
                trained=one.trained_ages,
                unit=unit,
                age_units=age_units,
                width_mm=width,
                note=figure_note(one),
            )
        out |= {f"{stem}{suffix}.{form}": made[form] for form in FORMATS}
    out[f"{stem}.html"] = html_file(lines, reference, one, unit=unit, age_units=age_units)
    out[f"{stem}.csv"] = csv(figure_table(lines))
    out[f"{stem}_line.csv"] = csv(line_table(lines))
    if reference is not None and has_centiles(lines, reference):
        out["centiles.csv"] = csv(reference.data)
    return out


def everything(
    people: Sequence[Named],
    pack: Pack,
    *,
    unit: str = "ml",
    brains: Mapping[str, Iterable[Brain]] | None = None,
    extra: Mapping[str, bytes] | None = None,
    show: str = "",
    tell: Tell = untold,
) -> bytes:
    """One zip: figures of tissues and regions in every form, tables, methods, citation, settings, and the commands
    that make the same numbers again.

    Args:
        people: the current person first; overlaid ones after.
        brains: brains of a filmstrip by scenario; written as BIDS-named maps in a folder each.
        extra: further files by name, such as a filmstrip's picture and the scenario file.
        show: a line for a shell that makes the whole zip again.
        tell: told what is made.
    """
    one = people[0][1]
    reference = reference_of(pack, one) if unit == "ml" else None
    look = {"unit": unit, "age_units": pack.schema.age.units if pack.schema.age else "years"}
    tell(0.1, "Volumes over age")
    files = figure_files(lines_of(people, unit=unit), reference, one, **look)
    tell(0.4, "Volumes of regions over age")
    regions = lines_of(people, unit=unit, measures=[r.name for r in REGIONS])
    files |= figure_files(regions, reference, one, **look, stem="regions")
    files |= dict(extra or {})
    ids = [f"sub-{k + 1:02d}" for k in range(len(people))]
    named = [(i, n, s) for i, (n, s) in zip(ids, people, strict=True)]
    for file, parts in {
        "volumes.csv": [s.volumes.assign(participant_id=i, person=n) for i, n, s in named],
        "features.csv": [s.features.assign(participant_id=i, person=n) for i, n, s in named],
    }.items():
        files[file] = csv(pd.concat(parts, ignore_index=True))
    tables, commands = repeated(people)
    files |= tables
    files["methods.txt"] = (methods_of(people, unit=unit) + "\n").encode()
    files["citation.bib"] = bibtex().encode()
    settings = [
        {
            "participant_id": i,
            "name": n,
            "plan": asdict(s.plan),
            "pack": s.pack_name,
            "pack_hash": s.pack_hash,
        }
        | {"simulated_training_data": s.simulated, "software": __version__, "person": s.person}
        for i, n, s in named
    ]
    files["settings.json"] = json.dumps(settings, indent=1, ensure_ascii=False, default=float).encode()
    files["README.txt"] = (
        note(one)
        + f".\n{RESEARCH_USE}\n\n"
        + ("" if found_by_name(pack) else f"{OWN_PACK}\n\n")
        + "volumes.csv again from the command line, in the folder of this file:\n\n"
        + "\n".join(f"    {c}" for c in commands)
        + "\n\n"
        + (f"{ALL_AGAIN}:\n\n    {show}\n\n" if show else "")
        + _CONTENTS
        + (
            f"\n{_WITHOUT_NOISE}"
            if any((s.volumes["draw"] == WITHOUT_NOISE).any() for _, s in people)
            else ""
        )
        + "\n"
        + str(pack.about.get("attribution", ""))
        + "\n"
    ).encode()
    tell(0.8, "Maps and tables")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            _add(archive, name, content)
        for scenario, made in (brains or {}).items():
            for name, content in bids_files(made, pack):
                _add(archive, f"maps_{scenario}/{name}", content)
    return out.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    stored = name.endswith((".gz", ".png", ".pdf"))
    info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    archive.writestr(info, content)
