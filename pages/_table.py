"""A person from a row of the user's own table."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from csegsynth_core.data.tables import read_table
from csegsynth_core.errors import TableError
from csegsynth_core.pack import Pack
from pages import _about, _state


def loader(pack: Pack) -> None:
    """Load a person from the user's table; the table stays in this session's memory."""
    with st.expander("Load a person from a table", icon=":material/upload_file:"):
        file = st.file_uploader(
            "Table of people",
            type=["tsv", "csv", "xlsx"],
            label_visibility="collapsed",
            key=f"table-{pack.hash[:8]}",
            help="Columns as in participants.tsv. Nothing is kept on disk.",
        )
        if file is None:
            st.caption(f"Columns: participant_id, {', '.join(pack.schema.names)}; n/a for unknown.")
            return
        try:
            people, unknown = people_of(pack, file.getvalue(), file.name)
        except TableError as error:
            _about.show_error(error)
            return
        left_out(pack, unknown)
        key = f"who-{pack.hash[:8]}-{file.file_id}"

        def take() -> None:
            who = st.session_state[key]
            if who is not None:
                person, notes = people[who]
                _state.set_person(pack, person, notes=notes)
                _state.set_baseline(pack, person, who)

        st.selectbox(
            "Person", list(people), index=None, key=key, on_change=take, placeholder="Choose a person"
        )


def left_out(pack: Pack, columns: Sequence[str]) -> None:
    """Say which columns of a table the pack does not know, where there are any."""
    if columns:
        st.warning(pack.schema.left_out(columns, pack.name))


def people_of(
    pack: Pack, content: bytes, name: str
) -> tuple[dict[str, tuple[_state.Person, list[str]]], list[str]]:
    """Features of each person of a table, None for unknown, with a note for each value that is not plausible.

    Returns:
        These by person, and columns that the pack does not know.

    Raises:
        TableError: the table cannot be used; names file, row and column.
    """
    table, unknown = pack.schema.known_of(read_table(content, name=name))
    parsed = pack.schema.validate(table, source=name)
    out = {}
    for who, row in parsed.data.iterrows():
        person = {k: None if v is None or v != v else v for k, v in row.items()}
        odd = [k for k in parsed.flags if parsed.flags.at[who, k] == "implausible"]
        notes = [
            f"{k}: {parsed.raw.at[who, k]} in {name} is not plausible and was taken as unknown" for k in odd
        ]
        out[str(who)] = (person, notes)
    return out, unknown
