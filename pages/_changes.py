"""Features that change at an age, such as "retires at 60": the current person's, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from csegsynth_core.changes import MAX_CHANGES, Change, checked
from csegsynth_core.compare import influence_order
from csegsynth_core.data.feature import Feature
from csegsynth_core.errors import CSegSynthError
from csegsynth_core.pack import Pack
from csegsynth_core.scenarios import Plan
from pages import _about, _state

_HELP = "From an age on, a feature has another value, in every scenario: retires at 60, stops smoking at 50."


@dataclass
class _Row:
    """What the controls of a row start with; nothing chosen yet is None."""

    feature: str | None = None
    age: float | None = None
    value: float | str | None = None


def controls(pack: Pack, before: Plan, turn: str) -> tuple[Change, ...]:
    """A popover with a row for each change; returns those that can be made.

    Args:
        before: the sweep so far, whose changes the rows start with.
        turn: another one where a scenario or a link was opened.
    """
    rows = _rows(pack, before, turn)
    with st.popover("Changes", icon=":material/event:", key="changes"):
        st.caption(_HELP)
        given: list[Change] = []
        for n, row in list(rows.items()):
            change = _row(pack, row, rows, n, f"{turn}-{n}")
            if change is None:
                continue
            try:
                given = list(checked([*given, change], pack.schema))
            except CSegSynthError as error:
                _about.show_error(error)
        st.button(
            "Add a change",
            on_click=_add,
            args=(rows, before),
            icon=":material/add:",
            disabled=len(rows) >= MAX_CHANGES,
            key=f"change-add-{turn}",
        )
        if len(given) < len(rows):
            st.caption("A row counts once it has feature, age and value.")
    return tuple(given)


def _rows(pack: Pack, before: Plan, turn: str) -> dict[int, _Row]:
    """Number → row; kept while the user is on other pages."""
    held = _state.memory(pack)
    if held.get("changes-turn") != turn:
        held["changes-turn"] = turn
        held["changes"] = {n: _Row(one.feature, one.age, one.value) for n, one in enumerate(before.changes)}
    return held["changes"]


def _add(rows: dict[int, _Row], before: Plan) -> None:
    rows[max(rows, default=-1) + 1] = _Row(age=float(round((before.start + before.stop) / 2)))


def _row(pack: Pack, row: _Row, rows: dict[int, _Row], n: int, key: str) -> Change | None:
    """Controls of a change; None until all is chosen."""
    fixed = {one.name for one in (pack.schema.age, pack.schema.sex) if one is not None}
    names = [name for name in influence_order(pack) if name not in fixed]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        row.feature = st.selectbox(
            "Feature", names, None if row.feature is None else names.index(row.feature), width=210,
            format_func=lambda name: pack.schema.feature(name).label, key=f"change-feature-{key}",
            placeholder="Choose a feature",
        )  # fmt: skip
        row.age = st.number_input(
            f"From age ({pack.schema.age.units})", value=row.age, step=1.0, format="%g", width=125,
            key=f"change-age-{key}",
        )  # fmt: skip
        row.value = _value(pack, row, f"change-value-{key}-{row.feature}")
        st.button(
            "", on_click=rows.pop, args=(n, None), icon=":material/delete:", key=f"change-drop-{key}",
            help="Remove this change",
        )  # fmt: skip
    if row.feature is None or row.age is None or row.value is None:
        return None
    return Change(row.feature, float(row.age), row.value)


def _value(pack: Pack, row: _Row, key: str) -> float | str | None:
    """The control of a row's value, as its feature needs it."""
    look: dict[str, Any] = {"key": key, "width": 190}
    if row.feature is None:
        st.selectbox("Value", [], None, disabled=True, placeholder="", **look)
        return None
    one: Feature = pack.schema.feature(row.feature)
    if one.levels:
        levels = list(one.levels)
        now = levels.index(row.value) if row.value in levels else None
        return st.selectbox(
            "Value", levels, now, format_func=one.levels.get, placeholder="Choose a value", **look
        )
    low, high = one.plausible or (None, None)
    stats = pack.encoder.numeric[one.name]
    return st.number_input(
        f"Value ({one.units})" if one.units else "Value",
        low, high, row.value if isinstance(row.value, float) else None, step=1.0 if one.integer else None,
        format="%g", help=f"Training people: {stats.minimum:.4g}–{stats.maximum:.4g} {one.units}", **look,
    )  # fmt: skip
