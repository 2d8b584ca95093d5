"""The what-if table of the Compare page. What the user edits is kept: across columns, pages and packs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core import compare
from csegsynth_core.errors import TableError
from csegsynth_core.pack import Pack
from csegsynth_core.scenario_pages import COMPARE_DRAWS, USUAL_DRAWS, Comparison
from pages import _about, _compare_saved, _state, _table

ALL_BELOW = 9
"""Up to so many features all have a column from the start."""
FEW = 6
_ROW_PX, _ROWS = 30, 4
"""Height of a row, and how many are seen at once; the table scrolls by itself."""


def editor(pack: Pack, person: _state.Person) -> tuple[dict[str, _state.Person], int, bool]:
    """The table that the user edits; the people of its scenarios, the number of draws, whether regions are wanted.

    Raises:
        TableError: no scenario or too many, two of the same name, or an unusable name.
    """
    held = _compare_saved.held_of(pack, person)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="compare-bar"):
        with st.popover("Options", icon=":material/tune:"):
            shown = _columns(pack, held)
            draws = int(
                st.number_input(
                    "Latent draws",
                    *COMPARE_DRAWS,
                    USUAL_DRAWS,
                    key=f"compare-draws-{pack.hash[:8]}",
                    persist_state="session",
                )
            )
        with st.popover("Table", icon=":material/upload_file:", help="Scenarios from a file of yours"):
            _loader(pack, held)
        st.button(
            "From the person in the sidebar",
            on_click=lambda: _compare_saved.begin(pack, held, dict(_state.memory(pack)["person"])),
            icon=":material/restart_alt:",
            help="Start anew: the person in the sidebar and two variants",
        )
        regions = st.toggle(
            "Regions", key="compare-regions", persist_state="session",
            help="Volumes of regions besides the tissues'",
        )  # fmt: skip
    key = f"{held['key']}-{held['turn']}-{'-'.join(shown)}"
    if key not in st.session_state:  # a new grid: other columns, or the user is back on this page
        held["table"] = held["now"]
    edited = st.data_editor(
        held["table"][["scenario", *shown]],
        key=key,
        num_rows="dynamic",
        hide_index=True,
        row_height=_ROW_PX,
        height=_ROW_PX * min(len(held["table"]) + 1, _ROWS) + 37,
        column_config={"scenario": st.column_config.TextColumn("Scenario", width="medium", required=True)}
        | {n: _column(pack, n) for n in shown},
    )
    held["now"] = compare.kept(held["table"], edited)
    _state.memory(pack)["compare"] = None  # what cannot be compared cannot be opened again
    people = compare.filled(pack, held["now"], held["start"])
    _state.memory(pack)["compare"] = Comparison.of(people, held["start"], draws)
    return people, draws, regions


def _columns(pack: Pack, held: dict[str, Any]) -> list[str]:
    """Features that have a column: at first those in which some scenario differs from the person they start from."""
    order = compare.influence_order(pack)
    now = held["now"]
    varied = compare.changed(pack, now, held["start"])
    few = list(pack.schema.names) if len(order) <= ALL_BELOW else [*varied, *order][: max(FEW, len(varied))]
    key = f"{held['key']}-columns"
    kept = f"{key}-kept-{held['turn']}"
    st.session_state.setdefault(key, st.session_state.setdefault(kept, list(dict.fromkeys(few))))
    shown = st.multiselect(
        "Features with a column; rows keep what they have in others",
        order,
        format_func=lambda n: pack.schema.feature(n).label,
        key=key,
        width=420,
    )
    st.session_state[kept] = shown
    hidden = [pack.schema.feature(n).label for n in varied if n not in shown]
    if hidden:
        st.caption(f"Scenarios also differ, without a column, in: {', '.join(hidden)}.")
    return [n for n in pack.schema.names if n in shown]


def _loader(pack: Pack, held: dict[str, Any]) -> None:
    """Scenarios from a file; they stay in this session's memory."""
    st.caption(
        "Columns: scenario, and features as in participants.tsv. Empty cells are as in the sidebar's person. "
        "Neither the address of this page nor scenario files hold them; this page's exports do."
    )
    key = f"{held['key']}-file-{held['turn']}"

    def take() -> None:
        file = st.session_state[key]
        if file is None:
            return
        person = dict(_state.memory(pack)["person"])
        try:
            rows, unknown = compare.read_scenarios(pack, file.getvalue(), file.name, person)
        except TableError as error:
            st.session_state[f"{held['key']}-problem"] = error
            return
        _compare_saved.begin(pack, held, person, rows, own=True)
        st.session_state[f"{held['key']}-unknown"] = held["turn"], unknown
        st.session_state.pop(f"{held['key']}-columns", None)

    st.file_uploader(
        "Table of scenarios",
        type=["tsv", "csv", "xlsx"],
        key=key,
        on_change=take,
        max_upload_size=5,
        width=420,
    )
    of_turn, unknown = st.session_state.get(f"{held['key']}-unknown", (None, ()))
    if of_turn == held["turn"]:  # said for as long as this table is compared
        _table.left_out(pack, unknown)
    problem = st.session_state.pop(f"{held['key']}-problem", None)
    if problem is not None:
        _about.show_error(problem)


def _column(pack: Pack, name: str) -> Any:
    one, control = pack.schema.feature(name), pack.encoder.ranges()[name]
    if one.levels:
        return st.column_config.SelectboxColumn(
            one.label, options=list(one.levels), format_func=one.levels.get
        )
    low, high = one.plausible or (None, None)
    trained = f"Training people: {control.minimum:.4g}–{control.maximum:.4g} {one.units}"
    form = f"%.5g {one.units.replace('%', '%%')}".strip()
    return st.column_config.NumberColumn(
        one.label, min_value=low, max_value=high, format=form, help=trained, width="small"
    )
