"""Whose gradients the Feature influence page shows, and their computation with progress."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from csegsynth_core import page_views, saliency
from csegsynth_core.data.tables import read_table
from csegsynth_core.pack import Pack
from pages import _notes, _state
from pages._remember import remembered

WHOSE = {
    "person": "This person",
    "typical": "Typical people",
    "varied": "Drawn people",
    "table": "My table",
}
MAP_OF = {
    True: {True: "Mean of these draws", False: "This draw"},
    False: {True: "Mean of these people", False: "Sidebar's person"},
}
"""Whether the bars are of one person → what the map is of, a mean or one brain."""
MAPS = (
    f"A mean is of {saliency.MAPS} maps at most: of more people, some at even distances in the table. A map takes "
    "some 0.2 s on a core."
)
EXPLAINED = (
    "A pack holds no training people, for their privacy, but statistics of them. Typical people: seven ages and each "
    "sex, other features by their regressions on age. Drawn people: 50, with the regressions' residuals. They are "
    "nobody. One person's gradients are of all voxels."
)
NO_EFFECTS = "Associations that the model learned, not effects."
VOXELS = (
    "Exact. Otherwise every second one along each axis: some three times faster, but gradients differ from the exact "
    "ones by per cents for tissues, up to a third for ventricles, and more for small regions. With 198 features, 50 "
    "people and one draw take some 15 s so on two cores, and some 40 s with all voxels."
)


def people_of(pack: Pack, whose: str, person: _state.Person) -> tuple[pd.DataFrame, str]:
    """Table of the chosen people, and what to call it; stops the page where there is none yet.

    Raises:
        TableError: the user's table cannot be used.
    """
    if whose != "table":
        return page_views.influence_people(pack, whose, person)
    table = _own_table(pack)
    if table is None:
        st.caption(f"Columns: participant_id, {', '.join(pack.schema.names[:20])}; n/a for unknown.")
        st.stop()
    name, content = table
    parsed, about, notes = page_views.table_people(pack, read_table(content, name=name), name)
    for note in notes:
        st.warning(note)
    return parsed.data, about


def _own_table(pack: Pack) -> tuple[str, bytes] | None:
    """Name and content of the user's table: kept while the session lasts, also on other pages, or until removed."""
    held, key = _state.memory(pack), f"influence-table-{pack.hash[:8]}"

    def take() -> None:
        file = st.session_state[key]
        held["table"] = None if file is None else (file.name, file.getvalue())

    file = st.file_uploader(
        "Table of people",
        type=["tsv", "csv", "xlsx"],
        key=key,
        on_change=take,
        help="Columns as in participants.tsv. Nothing is kept on disk.",
    )
    if file is None and held.get("table") is not None:  # given before another page was shown
        st.button(
            f"Remove {held['table'][0]}", on_click=held.pop, args=("table",), icon=":material/delete:",
            key=f"remove-{key}", help="Your table is kept while this session lasts.",
        )  # fmt: skip
    return held.get("table")


def flagged(pack: Pack, found: saliency.Gradients, where: saliency.Where) -> None:
    """A line on values that were imputed, out of the training range or rare, where there are any."""
    words = saliency.flag_words(pack, found, where)
    if words:
        _notes.strip([escape(words)])


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
