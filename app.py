"""The app: `streamlit run app.py`. Chooses the model pack and routes to the pages."""

import sys
from pathlib import Path

import streamlit as st

ASSETS = Path(__file__).parent / "assets"

st.set_page_config(
    page_title="CSegSynth",
    page_icon=str(ASSETS / "icon.svg"),
    layout="wide",
    initial_sidebar_state=330,
    menu_items={"About": "**CSegSynth**: synthetic brain tissue maps from a person's features."},
)
st.html(ASSETS / "style.css")

# Before anything slow: until it is called, Streamlit takes every file in pages/ for a page. A page whose address is
# the name of its file begins with `_link.routed()`, so that a server's first visitor may come by a link to it.
page = st.navigation(
    [
        st.Page("pages/individual.py", title="Individual", url_path="person", default=True),
        st.Page("pages/ageing.py", title="Ageing", url_path="ageing"),
        st.Page("pages/influence.py", title="Feature influence", url_path="features"),
        st.Page("pages/compare.py", title="Compare", url_path="scenarios"),
        st.Page("pages/cohort.py", title="Cohort", url_path="trained-on"),
        st.Page("pages/evaluation.py", title="Evaluation", url_path="measured"),
        st.Page("pages/method.py", title="Method", url_path="about-method"),
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
        from pages import _about, _controls, _link, _state
try:
    with st.sidebar:
        _link.open_once()
        pack = _state.choose_pack()
        _link.fill(pack)
        _controls.person_controls(pack)
except _state.PackError as error:
    _about.show_error(error)
    st.stop()

_link.write(pack)
st.session_state["routed"] = True
try:
    page.run()
finally:
    st.session_state.pop("routed", None)

with st.sidebar:
    _about.show_about(pack)
