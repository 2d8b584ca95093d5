"""Which model packs there are to choose from: the shipped ones, and those in folders of the user's."""

from __future__ import annotations

import os

import streamlit as st

from csegsynth_core.errors import PackError
from csegsynth_core.pack import SHIPPED
from csegsynth_core.pack_folders import Found, find_all, folders_of_environment
from pages import _about

SWITCH = "CSEGSYNTH_PACK_FIELD"
"""Environment variable: `on` or `off`, whether users may name a folder. By default on this computer only, not where
the app is served to others, who could look for folders of the server with it."""

_HERE = ("localhost", "127.0.0.1", "::1")


def found() -> Found:
    """The packs of this user; read anew each time, so that a pack is there as soon as it has been trained."""
    own = str(st.session_state.get("packs-folder", "")).strip()
    return find_all([*folders_of_environment(), *([own] if own and may_name_a_folder() else [])])


def may_name_a_folder() -> bool:
    """Whether users may name a folder of the computer that runs the app."""
    wanted = os.environ.get(SWITCH, "").casefold()
    return wanted == "on" if wanted else st.get_option("server.address") in _HERE


def choose() -> None:
    """The selector, with a field for a folder; `st.session_state["pack"]` is the name chosen.

    Raises:
        PackError: there is no pack at all.
    """
    now = found()
    if not now.packs:
        raise PackError(
            f"no model pack in {SHIPPED}",
            expected="a folder with a pack.json and the model's weights",
            fix="get assets/models from the release (a clone without large files lacks it), or make a pack with "
            "'python -m train pack'; then reload this page",
        )
    if st.session_state.get("pack") not in now.packs:
        st.session_state.pop("pack", None)
    with st.container(horizontal=True, gap="small", key="packs"):
        st.selectbox(
            "Model pack",
            list(now.packs),
            key="pack",
            format_func=lambda name: f"Model pack: {name}",
            label_visibility="collapsed",
        )
        if may_name_a_folder():
            with st.popover("", icon=":material/folder_open:", help="Model packs of your own"):
                st.text_input(
                    "Folder with model packs of your own", key="packs-folder", placeholder="/home/me/packs",
                    on_change=_take_first, max_chars=1000,
                )  # fmt: skip
                st.caption(
                    "A folder on the computer that runs the app, with what `python -m train pack --out` wrote. "
                    "Files are checked, and nothing in them is run. `CSEGSYNTH_PACKS=FOLDER` names one for good."
                )
    for problem in now.problems:
        _about.show_error(problem)


def _take_first() -> None:
    """Choose a pack of the folder just named: the one that a link asked for, or the first."""
    others = find_all(folders_of_environment()).packs
    new = [name for name in found().packs if name not in others]
    if new:
        asked = st.session_state.get("link", {}).get("pack")
        st.session_state["pack"] = asked if asked in new else new[0]
