"""What is computed, licences, and words for papers."""

from __future__ import annotations

import streamlit as st

from csegsynth_core import methods_text, page_views
from pages import _about, _figure_export, _link, _method_session, _state

_link.routed()
pack = _state.current_pack()
head = st.container(horizontal=True, vertical_alignment="center", wrap=False, key="head")
words, computed, trained, licences = st.tabs(
    ["Words for papers", "What is computed", "How the model was trained", "Licences"]
)
with words:
    left, right = st.columns([58, 42], gap="medium")
    with left:
        st.markdown("**Methods** with this session's person, draw and settings")
        session = _method_session.chosen(pack)
        paragraph = session.methods(pack)
        st.code(paragraph, language=None, wrap_lines=True, height=460)
    with right:
        st.markdown("**BibTeX**")
        st.code(methods_text.bibtex(), language="bibtex", wrap_lines=True)
for tab, equations in ((computed, methods_text.COMPUTED), (trained, methods_text.EQUATIONS)):
    with tab:
        for n, (title, latex, explained) in enumerate(equations):
            if n % 2 == 0:  # rows, which stay in order where they are stacked
                columns = st.container(key=f"equations-{title}").columns(2, gap="large")
            with columns[n % 2]:
                st.markdown(f"**{title}**  \n{explained}")
                st.latex(latex)
with computed:
    st.markdown(
        "**Bands** are named for what they are: 95 % bootstrap interval of a mean over people; spread over "
        "latent draws (the model's own; where a pack's noise was calibrated, about as wide as training people "
        "spread around what their features predict); centiles of training people by age and sex.  \n"
        "**Contrasts** between levels of a feature are finite differences, not gradients."
    )
with trained:
    st.caption(
        "Equations as numbered in Wang et al. 2025, section IV; explained in our own words. "
        + methods_text.SYMBOLS
    )
with licences:
    st.markdown(methods_text.licences(pack).replace("\n", "  \n"))
shown = page_views.method(pack, _link.scenario_of(pack), session)
with head:
    st.html(
        "<h1>Method and citation</h1>" + _about.notice("Nor for prognosis or any decision about a person.")
    )
    _figure_export.popover(
        pack,
        "method",
        [],
        files=[
            ("Methods", "csegsynth_methods.txt", "text/plain", lambda: paragraph),
            ("BibTeX", "csegsynth.bib", "text/x-bibtex", methods_text.bibtex),
        ],
        everything=shown.everything,
        commands=shown.commands,
        gives=shown.gives,
        show=shown.show,
    )
