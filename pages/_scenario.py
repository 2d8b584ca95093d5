"""Save what the view shows as a file, and open such a file."""

from __future__ import annotations

import streamlit as st

from csegsynth_core.errors import CSegSynthError, PackError, ScenarioError
from csegsynth_core.pack import Pack
from csegsynth_core.scenario_file import from_dict, read_json
from pages import _about, _link, _opened, _packs, _state
from pages._remember import in_session


def saver(pack: Pack) -> None:
    """Save and open scenarios; says what was wrong with a file or a link."""
    with st.expander("Save or open a scenario", icon=":material/bookmark:"):
        st.download_button(
            "Save scenario",
            data=in_session(lambda: _link.scenario_of(pack).to_json()),
            file_name=f"csegsynth_{pack.name}.scenario.json",
            mime="application/json",
            on_click="ignore",
            icon=":material/save:",
            width="stretch",
            help="Person, draw, baseline, sweep, overlays, display convention, the scenarios of Compare and the "
            "settings of Feature influence. The address of this page holds the same, as a link. Tables of yours "
            "are in neither; a person loaded from one is, as the person and baseline shown.",
        )
        st.file_uploader(
            "Open a scenario",
            type=["json"],
            key="scenario-file",
            on_change=_open,
            max_upload_size=1,
        )
    for note in st.session_state.pop("scenario-notes", []):
        st.warning(note, icon=":material/info:")
    for error in [*_link.problems(), *st.session_state.pop("scenario-problems", [])]:
        _about.show_error(error)


def _open() -> None:
    """Put the content of a chosen file in place; runs before anything is drawn."""
    file = st.session_state["scenario-file"]
    if file is None:
        return
    try:
        data = read_json(file.getvalue())
        name = data["pack"]["name"]
        packs = _packs.found().packs
        if name not in packs:
            raise ScenarioError(
                f"the scenario's model pack {name!r} is not here",
                expected=", ".join(packs),
                fix="name the folder that holds it, beside the selector of packs",
            )
        pack = _state.load(name)
        scenario, notes = from_dict(data, pack)
    except (ScenarioError, PackError, CSegSynthError) as error:
        st.session_state["scenario-problems"] = [error]
        return
    st.session_state["pack"] = name
    _opened.scenario(pack, scenario, data)
    st.session_state["scenario-notes"] = notes
