"""The zip of each page: its figures, tables, maps and text, and the commands that make the same numbers again."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pandas as pd

from csegsynth_core import figure_export, saliency
from csegsynth_core.data.tables import ID
from csegsynth_core.data.volume_centiles import TOTAL
from csegsynth_core.figure_export import OWN_TABLE, ExportFigure, Tell, csv, people_csv, untold
from csegsynth_core.generate import Brain
from csegsynth_core.methods_text import licences, methods_paragraph
from csegsynth_core.pack import Pack
from csegsynth_core.page_figures import alike, names_of
from csegsynth_core.scenario_pages import Comparison
from csegsynth_core.scenarios import Plan

PERSON, BASELINE = "sub-synthetic", "sub-baseline"
"""Names of people in files."""


def command(name: str, pack: Pack, *options: object, table: str = "people.csv", out: str = "again") -> str:
    """A line for a shell."""
    words = ["python", "-m", "csegsynth_core", name, "--pack", pack.name, "--table", table, "--out", out]
    return shlex.join([*words, *map(str, options)])


def person_commands(pack: Pack, seed: int) -> list[str]:
    """What makes the person's brain and the baseline's again."""
    return [command("generate", pack, "--seed", seed)]


def centiles_methods(pack: Pack, person: Brain) -> str:
    """Whose centiles volumes stand among and how these were found, in a sentence; empty without ages."""
    who = alike(pack, person).who
    if not who:
        return ""
    return (
        "Volumes are shown among the 5th, 25th, 50th, 75th and 95th centile of training people's prepared maps: "
        f"{who}, by restricted quantile regression on age for each sex (He 1997)."
    )


def person_methods(pack: Pack, person: Brain, baseline: Brain, *, label: str, draws: int) -> str:
    """Whom the person is compared with, over how many draws and among whom, in a few sentences.

    Args:
        label: who the baseline is.
        draws: whose spread stands beside the volumes; 0 without.
    """
    one, other = (
        f"{pack.schema.describe(b.features) or 'somebody'}; seed {b.seed}" for b in (person, baseline)
    )
    spread = (
        f"Beside volumes and differences to the baseline stand means and 5th to 95th percentiles over {draws} latent "
        "draws, each the same for both people."
    )
    said = [
        f"The person ({one}) was compared with a baseline: {label} ({other}).",
        spread if draws else "",
        centiles_methods(pack, person),
    ]
    return " ".join(s for s in said if s)


def person_zip(
    pack: Pack,
    figures: Sequence[ExportFigure],
    person: Brain,
    baseline: Brain,
    *,
    label: str = "baseline",
    draws: int = 0,
    scenario: str,
    show: str = "",
    tell: Tell = untold,
) -> bytes:
    """Everything of the Individual page: figures, maps of person and baseline, regions, scenario, methods.

    Args:
        label, draws: see `person_methods`.
        scenario, show, tell: here and below, see `figure_export.everything`.
    """
    from csegsynth_core.export import bids_files  # imports nibabel

    brains = [replace(person, participant_id=PERSON), replace(baseline, participant_id=BASELINE)]
    regions = pd.DataFrame([{"participant_id": b.participant_id} | b.regions_ml for b in brains])
    volumes = [{"participant_id": b.participant_id} | b.volumes_ml | {TOTAL: b.total_ml} for b in brains]
    return figure_export.everything(
        pack,
        figures,
        commands=person_commands(pack, person.seed),
        methods=methods_paragraph(pack, seed=person.seed)
        + " "
        + person_methods(pack, person, baseline, label=label, draws=draws),
        scenario=scenario,
        files={
            "people.csv": people_csv({b.participant_id: b.features for b in brains}),
            "volumes.csv": csv(pd.DataFrame(volumes)),
            "regions.csv": csv(regions),
        },
        maps=bids_files(brains, pack),
        settings={"Seed": person.seed},
        show=show,
        tell=tell,
    )


def compare_commands(pack: Pack, seed: int, draws: int, *, table: str = "people.csv") -> list[str]:
    """What makes the scenarios' volumes again (their mean over draws), and their brains."""
    many: list[object] = ["--seed", seed, "--draws", draws, "--no-maps"]
    return [
        command("generate", pack, *many, table=table, out="again_volumes"),
        command("generate", pack, "--seed", seed, table=table, out="again_maps"),
    ]


def compare_methods(names: Sequence[str], *, draws: int, seed: int) -> str:
    """How scenarios were compared, in a sentence."""
    return (
        f"{len(names)} scenarios ({', '.join(names)}) were compared: they share {draws} latent draws (seed {seed}) "
        "and differ by features alone; their volumes are means over draws."
    )


def compare_zip(
    pack: Pack,
    figures: Sequence[ExportFigure],
    table: pd.DataFrame,
    brains: Mapping[str, Brain],
    *,
    draws: int,
    seed: int,
    scenario: str,
    given: Mapping[str, Mapping[str, Any]] | None = None,
    show: str = "",
    tell: Tell = untold,
) -> bytes:
    """Everything of the Compare page; maps of every scenario.

    Args:
        table: as from `compare.compared`.
        brains: scenario → brain.
        given: features by scenario where these are of a table of the user's.
    """
    from csegsynth_core.export import bids_files  # imports nibabel

    names = names_of(list(brains))
    own = [replace(b, participant_id=names[n]) for n, b in brains.items()]
    told = table.assign(participant_id=table["scenario"].map(names))
    more = {} if given is None else {OWN_TABLE: _own_table("scenario", given.keys(), given.values())}
    return figure_export.everything(
        pack,
        figures,
        commands=compare_commands(pack, seed, draws),
        methods=methods_paragraph(pack, seed=seed, draws=draws)
        + " "
        + compare_methods(list(names), draws=draws, seed=seed),
        scenario=scenario,
        files={
            "people.csv": people_csv({b.participant_id: b.features for b in own}),
            "volumes.csv": csv(told),
            "scenarios.csv": csv(pd.DataFrame({"participant_id": names.values(), "scenario": names.keys()})),
        }
        | more,
        maps=bids_files(own, pack),
        settings={"Seed": seed, "Draws": draws},
        show=show,
        tell=tell,
    )


def _own_table(first: str, names: Iterable[str], rows: Iterable[Mapping[Any, Any]]) -> bytes:
    """Rows as CSV; `first` is the column of their names."""
    named = [{first: name} | dict(row) for name, row in zip(names, rows, strict=True)]
    return pd.DataFrame(named).to_csv(index=False, na_rep="n/a").encode()


INFLUENCE_GIVES: Final = "The table of gradients per SD"
"""What `influence_commands` give of the Feature influence page: neither contrasts between levels nor the map."""


def influence_commands(
    pack: Pack, seed: int, draws: int, resolution: int, *, out: str = "again"
) -> list[str]:
    """What makes the table of gradients again."""
    fast = ["--fast"] if resolution == 2 else []
    return [command("saliency", pack, "--seed", seed, "--draws", draws, *fast, out=out)]


def influence_methods(people: str, several: bool, *, draws: int, resolution: int) -> str:
    """How gradients were computed, in a sentence.

    Args:
        people: over whom: `12 people`.
        several: whether they are more than one.
    """
    return (
        "The influence of features was measured as the gradient of volumes with respect to standardised features, "
        f"by back-propagation, averaged over {draws} latent draw{'s' * (draws > 1)} and {people}"
        + (", with a 95 % bootstrap interval over people" if several else "")
        + ("." if resolution == 1 else f"; {saliency.EVERY_SECOND} along each axis was summed.")
    )


def bars_table(
    shown: pd.DataFrame, found: saliency.Gradients, *, measure: str, band: str, people: int, draws: int
) -> pd.DataFrame:
    """The bars that are shown, with what they are of and what their ends are.

    Args:
        shown: as from `saliency.to_show`.
        measure: whose volume.
        band: what `low_ml` and `high_ml` are.
    """
    told = shown.assign(interval=band, people=people, draws=draws)
    told.insert(0, "measure", measure)
    return saliency.with_provenance(told, found)


def influence_zip(
    pack: Pack,
    figures: Sequence[ExportFigure],
    found: saliency.Gradients,
    whole: pd.DataFrame,
    *,
    where: saliency.Where,
    draws: int,
    maps: Iterable[tuple[str, bytes]] = (),
    contrasts: pd.DataFrame | None = None,
    bars: pd.DataFrame | None = None,
    given: pd.DataFrame | None = None,
    scenario: str,
    show: str = "",
    tell: Tell = untold,
) -> bytes:
    """Everything of the Feature influence page; `people.csv` holds those of the subgroup.

    Args:
        whole: as from `saliency.summarise`.
        maps: as from `page_figures.map_files`.
        contrasts: as from `saliency.contrasts`.
        bars: as from `bars_table`.
        given: people of a table of the user's, as it says them; those of the subgroup are saved.
    """
    kept = saliency.matching(pack, found.natural, where)
    people = found.natural[kept]
    people = people.rename(index={"row-1": PERSON}) if len(found.natural) == 1 else people
    files = {
        "influence.csv": csv(saliency.with_provenance(whole, found)),
        "people.csv": people.to_csv(na_rep="n/a").encode(),
    }
    if contrasts is not None:
        files["contrasts.csv"] = csv(saliency.with_provenance(contrasts, found))
    if bars is not None:
        files["bars.csv"] = csv(bars)
    if given is not None:
        files[OWN_TABLE] = _own_table(ID, given.index[kept], given[kept].to_dict("records"))
    methods = methods_paragraph(pack, seed=found.seed, draws=draws if draws > 1 else None)
    several, flagged = len(people) > 1, int(whole["flagged_people"].iloc[0])
    whose = f"{flagged} of these people" if several else "this person"
    methods += (
        " "
        + influence_methods(
            f"{len(people)} people" if several else "1 person",
            several,
            draws=draws,
            resolution=found.resolution,
        )
        + (f" Some values of {whose} were imputed, out of the training range or rare." if flagged else "")
    )
    return figure_export.everything(
        pack,
        figures,
        commands=influence_commands(pack, found.seed, draws, found.resolution),
        gives=INFLUENCE_GIVES,
        methods=methods,
        scenario=scenario,
        files=files,
        maps=maps,
        settings={"Seed": found.seed, "Draws": draws, "Resolution": found.resolution},
        show=show,
        tell=tell,
    )


COHORT_GIVES: Final = "This person's volumes (the other numbers of the page are read from the pack)"
"""What `person_commands` give of the Cohort page."""


def cohort_zip(
    pack: Pack,
    figures: Sequence[ExportFigure],
    places: pd.DataFrame,
    person: Brain,
    *,
    scenario: str,
    show: str = "",
    tell: Tell = untold,
) -> bytes:
    """Everything of the Cohort page."""
    return figure_export.everything(
        pack,
        figures,
        commands=person_commands(pack, person.seed),
        gives=COHORT_GIVES,
        methods=f"{methods_paragraph(pack, seed=person.seed)} {centiles_methods(pack, person)}".rstrip(),
        scenario=scenario,
        files={
            "people.csv": people_csv({PERSON: person.features}),
            "volumes.csv": csv(
                pd.DataFrame([{"participant_id": PERSON} | person.volumes_ml | {TOTAL: person.total_ml}])
            ),
            "features.csv": csv(places),
        },
        settings={"Seed": person.seed},
        show=show,
        tell=tell,
    )


def evaluation_zip(
    pack: Pack, figures: Sequence[ExportFigure], tables: Mapping[str, pd.DataFrame], **more: Any
) -> bytes:
    """Everything of the Evaluation page; `tables` by name."""
    files = {f"{name}.csv": csv(table) for name, table in tables.items()} | {"card.md": pack.card.encode()}
    return figure_export.everything(
        pack,
        figures,
        commands=[f"python -m train evaluate --pack {shlex.quote(pack.name)} --cohort COHORT"],
        methods=methods_paragraph(pack, seed=0),
        files=files,
        **more,
    )


@dataclass(frozen=True)
class GradientSettings:
    """Settings of the Feature influence page that its numbers depend on."""

    people: str
    """Over whom: `1 person`, `people drawn from the pack's statistics`."""
    several: bool
    draws: int
    resolution: int
    """1: every voxel; 2: every second one along each axis."""


@dataclass(frozen=True)
class Session:
    """What is set on all pages; None for analyses that are left out."""

    person: Mapping[str, Any]
    seed: int
    sweep: Plan | None = None
    comparison: Comparison | None = None
    gradients: GradientSettings | None = None

    def methods(self, pack: Pack) -> str:
        """Paragraphs for a paper: the brains, then each analysis with its settings."""
        from csegsynth_core.sweep_report import plan_methods  # imports nibabel

        parts = [methods_paragraph(pack, seed=self.seed, who=pack.schema.describe(self.person))]
        if self.sweep is not None and pack.schema.age is not None:
            stats = pack.encoder.numeric[pack.schema.age.name]
            parts.append(plan_methods(self.sweep, (stats.minimum, stats.maximum), schema=pack.schema))
        if self.comparison is not None:
            names = list(self.comparison.scenarios)
            parts.append(compare_methods(names, draws=self.comparison.draws, seed=self.seed))
        if self.gradients is not None:
            one = self.gradients
            parts.append(
                influence_methods(one.people, one.several, draws=one.draws, resolution=one.resolution)
            )
        return "\n\n".join(parts)

    def commands(self, pack: Pack) -> list[str]:
        """What makes the numbers again, from the tables of `method_zip`; groups' gradients have none."""
        from csegsynth_core.sweep_report import plan_command  # imports nibabel

        lines = person_commands(pack, self.seed)
        if self.sweep is not None:
            lines.append(plan_command(self.sweep, pack.name, out="again_sweep"))
        if self.comparison is not None:
            lines += compare_commands(pack, self.seed, self.comparison.draws, table=SCENARIOS)
        if self.gradients is not None and not self.gradients.several:
            one = self.gradients
            lines += influence_commands(pack, self.seed, one.draws, one.resolution, out="again_influence")
        return lines


SCENARIOS: Final = "scenarios.csv"
"""The people of Compare among the files of `method_zip`."""
METHOD_GIVES: Final = "What the methods tell (gradients of groups of people apart)"
"""What `Session.commands` give."""


def method_zip(pack: Pack, session: Session, *, scenario: str, show: str = "", tell: Tell = untold) -> bytes:
    """Everything of the Method page: methods, citation, licences, people, and the commands of every analysis."""
    files = {
        "people.csv": people_csv({PERSON: session.person}),
        "licences.txt": f"{licences(pack)}\n".encode(),
    }
    if session.comparison is not None:
        people = session.comparison.people
        names = names_of(list(people))
        files[SCENARIOS] = people_csv({names[name]: one for name, one in people.items()})
    return figure_export.everything(
        pack,
        [],
        commands=session.commands(pack),
        gives=METHOD_GIVES,
        methods=session.methods(pack),
        scenario=scenario,
        files=files,
        settings={"Seed": session.seed},
        show=show,
        tell=tell,
    )
