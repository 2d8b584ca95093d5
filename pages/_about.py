"""What a pack is, and what went wrong: for people."""

from __future__ import annotations

import streamlit as st

from csegsynth_core import RESEARCH_USE
from csegsynth_core.pack import Pack

CROSS_SECTIONAL = "Cross-sectional data: a hypothesis about a population, not a forecast for a person."


def notice(more: str = "") -> str:
    """The line below every page's heading, as HTML: what the app may be used for, then what the page adds.

    Args:
        more: HTML; what cannot be seen from the page itself.
    """
    return f'<p class="notice"><b>{RESEARCH_USE}</b> {more}</p>'


def show_about(pack: Pack) -> None:
    """Licence, attribution and model card of a pack."""
    with st.expander("About this model", icon=":material/info:"):
        st.markdown(
            f"**{pack.about.get('title', pack.name)}**  \nHash `{pack.hash[:12]}` · made "
            f"{pack.about.get('created', 'n/a')} · licence {pack.about.get('licence', 'n/a')}"
        )
        st.caption(str(pack.about.get("attribution", "")))
        if st.button("Model card", icon=":material/description:", width="stretch"):
            _card(pack)


@st.dialog("Model card", width="large")
def _card(pack: Pack) -> None:
    st.markdown(pack.card)


def show_error(error: Exception) -> None:
    """An error that a user can mend: problem, what was expected, what came, how to mend it."""
    parts = [f"**{getattr(error, 'problem', error)}**"]
    for title in ("expected", "got", "fix"):
        text = getattr(error, title, "")
        if text:
            parts.append(f"{title.capitalize()}: {text}")
    st.error("  \n".join(parts), icon=":material/error:")
