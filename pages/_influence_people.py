"""Whose gradients the Feature influence page shows, and their computation with progress."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from csegsynth_core import saliency, synthetic_people
from csegsynth_core.data.tables import read_table
from csegsynth_core.errors import TableError
from csegsynth_core.pack import Pack
from pages import _notes, _state
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
    "nobody. One person's gradients are of all voxels."
)
VOXELS = (
    "Exact. Otherwise every second one along each axis: some three times faster, but gradients differ from the exact "
    "ones by per cents for tissues, up to a third for ventricles, and more for small regions. With 198 features, 50 "
    "people and one draw take some 15 s so on two cores, and some 40 s with all voxels."
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
    table = _own_table(pack)
    if table is None:
        st.caption(f"Columns: participant_id, {', '.join(pack.schema.names[:20])}; n/a for unknown.")
        st.stop()
    name, content = table
    parsed = pack.schema.validate(read_table(content, name=name), source=name)
    if len(parsed) > MAX_PEOPLE:
        raise TableError(
            f"{name}: too many people for a page",
            expected=f"at most {MAX_PEOPLE}",
            got=str(len(parsed)),
            fix="use python -m csegsynth_core saliency for larger tables",
        )
    odd = parsed.implausible()
    if odd:
        more = f" and {len(odd) - 5} more" if len(odd) > 5 else ""
        st.warning(f"Not plausible, taken as unknown and filled in: {'; '.join(odd[:5])}{more}.")
    return parsed.data, f"{len(parsed)} people of {name}"


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
