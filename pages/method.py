"""What is computed, licences, and words for papers."""

from __future__ import annotations

import streamlit as st

from csegsynth_core import methods_text
from pages import _about, _figure_export, _link, _state

_link.routed()
pack = _state.current_pack()
seed = _state.memory(pack)["seed"]
paragraph = methods_text.methods_paragraph(pack, seed=seed)
with st.container(horizontal=True, vertical_alignment="center", wrap=False, key="head"):
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
    )
left, right = st.columns([52, 48], gap="large")
with left:
    shown, trained = st.tabs(["What is computed", "How the model was trained"])
    for tab, equations in ((shown, methods_text.COMPUTED), (trained, methods_text.EQUATIONS)):
        with tab:
            for title, latex, words in equations:
                st.markdown(f"**{title}**  \n{words}")
                st.latex(latex)
    with trained:
        st.caption(
            "Equations as numbered in Wang et al. 2025, section IV; explained in our own words. "
            + methods_text.SYMBOLS
        )
    with shown:
        st.markdown(
            "**Bands** are named for what they are: 95 % bootstrap interval of a mean over people; spread over "
            "latent draws (the model's own; where a pack's noise was calibrated, about as wide as training people "
            "spread around what their features predict); centiles of training people by age and sex.  \n"
            "**Contrasts** between levels of a feature are finite differences, not gradients."
        )
with right:
    st.markdown("**Methods paragraph** with the current pack and seed")
    st.code(paragraph, language=None, wrap_lines=True)
    st.markdown("**BibTeX**")
    st.code(methods_text.bibtex(), language="bibtex", height=230)
    st.markdown(
        f"**Licences**  \nCode: Apache-2.0. Model pack `{pack.name}`: {pack.about.get('licence', 'n/a')}.  \n"
        f"{pack.about.get('attribution', '')}"
    )
