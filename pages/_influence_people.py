"""Whose gradients the Feature influence page shows, and their computation with progress."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from csegsynth_core import saliency, synthetic_people
from csegsynth_core.data.tables import read_table
from csegsynth_core.errors import TableError
from csegsynth_core.pack import Pack
from pages import _state
from pages._remember import remembered

WHOSE = {
    "person": "This person",
    "typical": "Typical people",
    "varied": "Drawn people",
    "table": "My table",
}
_ABOUT = {
    "person": "the person in the sidebar",
    "typical": "typical people made from the pack's statistics",
    "varied": "people drawn from the pack's statistics",
    "table": "the people of your table",
}
EXPLAINED = (
    "A pack holds no training people, for their privacy, but statistics of them. Typical people: seven ages and each "
    "sex, other features by their regressions on age. Drawn people: 50, with the regressions' residuals. They are "
    "nobody."
)
MAX_PEOPLE = 500


def people_of(pack: Pack, whose: str, person: _state.Person) -> tuple[pd.DataFrame, str]:
    """Table of the chosen people, and what to call it; stops the page where there is none yet.

    Raises:
        TableError: the user's table cannot be used.
    """
    if whose == "typical":
        return synthetic_people.typical_people(pack), _ABOUT[whose]
    if whose == "varied":
        return synthetic_people.varied_people(pack, 50), _ABOUT[whose]
    if whose == "person":
        frame = pd.DataFrame([person], index=pd.Index(["sub-person"], name="participant_id"), dtype=object)
        return frame, _ABOUT[whose]
    file = st.file_uploader(
        "Table of people",
        type=["tsv", "csv", "xlsx"],
        key=f"influence-table-{pack.hash[:8]}",
        help="Columns as in participants.tsv. Nothing is kept on disk.",
    )
    if file is None:
        st.caption(f"Columns: participant_id, {', '.join(pack.schema.names[:20])}; n/a for unknown.")
        st.stop()
    parsed = pack.schema.validate(read_table(file.getvalue(), name=file.name), source=file.name)
    if len(parsed) > MAX_PEOPLE:
        raise TableError(
            f"{file.name}: too many people for a page",
            expected=f"at most {MAX_PEOPLE}",
            got=str(len(parsed)),
            fix="use python -m csegsynth_core saliency for larger tables",
        )
    return parsed.data, f"{len(parsed)} people of {file.name}"


def gradients_of(pack: Pack, people: pd.DataFrame, draws: int, seed: int, resolution: int) -> Any:
    """`saliency.gradients` of these people; computed once."""
    key = ("gradients", pack.hash, people.to_csv(), draws, seed, resolution)
    return remembered(
        key,
        "Computing gradients",
        lambda progress: saliency.gradients(
            pack,
            people,
            draws=draws,
            seed=seed,
            resolution=resolution,
            measures=saliency.EVERYTHING,
            progress=progress,
        ),
    )


def contrasts_of(
    pack: Pack,
    people: pd.DataFrame,
    names: list[str],
    where: saliency.Where,
    draws: int,
    seed: int,
    resolution: int,
) -> pd.DataFrame:
    """`saliency.contrasts` of these people; computed once."""
    key = ("contrasts", pack.hash, people.to_csv(), tuple(names), repr(where), draws, seed, resolution)
    return remembered(
        key,
        "Comparing levels",
        lambda progress: saliency.contrasts(
            pack,
            people,
            names,
            where=where,
            draws=draws,
            seed=seed,
            resolution=resolution,
            measures=saliency.EVERYTHING,
            progress=progress,
        ),
    )


def filters(pack: Pack) -> dict[str, Any]:
    """Subgroup: sex, age band, and any other features the user picks."""
    where: dict[str, Any] = {}
    controls = pack.encoder.ranges()
    usual = [one.name for one in (pack.schema.sex, pack.schema.age) if one is not None]
    more = st.multiselect(
        "Filter by",
        list(controls),
        default=usual,
        format_func=lambda name: controls[name].label,
        key=f"filter-by-{pack.hash[:8]}",
    )
    for name in more:
        one, key = controls[name], f"filter-{pack.hash[:8]}-{name}"
        if one.kind == "numeric":
            ends = (float(one.minimum or 0), float(one.maximum or 0))
            title = f"{one.label} ({one.units})" if one.units else one.label
            chosen = st.slider(title, *ends, value=ends, step=one.step, key=key)
            if tuple(chosen) != ends:
                where[name] = tuple(chosen)
        else:
            levels = st.pills(
                one.label, list(one.levels), selection_mode="multi", key=key, format_func=one.levels.get
            )
            if levels:
                where[name] = list(levels)
    return where
