"""The app: `streamlit run app.py`. Chooses the model pack and routes to the pages."""

import os
import sys
from pathlib import Path

import streamlit as st

from csegsynth_core.memory import give_back

ASSETS = Path(__file__).parent / "assets"

# Set before torch is imported: threads that wait for each other sleep instead of spinning, since browser, server
# and other users share the cores. A brain then takes a third of the processor time on two busy cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

st.set_page_config(
    page_title="CSegSynth",
    page_icon=str(ASSETS / "icon.svg"),
    layout="wide",
    initial_sidebar_state=330,
    menu_items={"About": "**CSegSynth**: synthetic brain tissue maps from a person's features."},
)
st.html(ASSETS / "style.css")

# Before anything slow: until it is called, Streamlit takes every file in pages/ for a page. The address of a page is
# the name of its file, which begins with `_link.routed()`: so a server's first visitor may come by a link to it.
page = st.navigation(
    [
        st.Page("pages/individual.py", title="Individual", default=True),
        st.Page("pages/ageing.py", title="Ageing", url_path="ageing"),
        st.Page("pages/influence.py", title="Feature influence", url_path="influence"),
        st.Page("pages/compare.py", title="Compare", url_path="compare"),
        st.Page("pages/cohort.py", title="Cohort", url_path="cohort"),
        st.Page("pages/evaluation.py", title="Evaluation", url_path="evaluation"),
        st.Page("pages/method.py", title="Method", url_path="method"),
    ],
    position="top",
)

with st.container(key="warm-up"):
    if "torch" not in sys.modules:  # the first browser gets Plotly ready while the server imports torch
        st.plotly_chart({"data": [{"type": "scatter"}], "layout": {"height": 10}}, theme=None)

with st.sidebar:
    st.html('<div class="wordmark">CSegSynth<span>synthetic brain tissue maps</span></div>')
    with st.spinner("Starting…"):
        # Imports torch, which takes seconds: the page is there meanwhile.
        from csegsynth_core.errors import PackError
        from pages import _about, _controls, _link, _state
try:
    with st.sidebar:
        _link.read()
        pack = _state.choose_pack()
        _link.fill(pack)
        _controls.person_controls(pack)
except PackError as error:
    _about.show_error(error)
    st.stop()

_link.write(pack)
if pack.simulated:  # fixed at the top, on every page, whether the sidebar is open or not
    st.html('<div class="simulated" role="note">Simulated people, not real ones</div>')
st.session_state["routed"] = True
try:
    page.run()
finally:
    st.session_state.pop("routed", None)

with st.sidebar:
    _about.show_about(pack)
give_back()
