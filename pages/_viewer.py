"""The generated brain: three linked planes, beside or against the baseline, or its surface.

A fragment: a click redraws the viewer and nothing else.
"""

from __future__ import annotations

from html import escape

import streamlit as st

from csegsynth_core import figures
from csegsynth_core.generate import Brain
from csegsynth_core.pack import Pack
from csegsynth_core.page_views import AVERAGED, average_person
from csegsynth_core.tissue import ALL, BY_NAME, TISSUES
from pages import _display, _planes, _state, _surface

_VIEWS = {"person": "Person", "pair": "Side by side", "difference": "Difference", "surface": "3-D surface"}
_MODES = {"tissues": "Tissues", **{t.name: t.bids for t in ALL}, figures.CONTOURS: "Contours"}


@st.fragment
def show(pack: Pack, person: Brain, baseline: Brain, label: str) -> None:
    """The viewer with its switches and read-out; `label` says who the baseline is."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="viewer-bar"):
        view = _choice("View", "viewer-view", _VIEWS)
        if view == "surface":
            colour, side = _surface.switches()
        elif view == "difference":
            mode = _choice(
                "Difference of", "viewer-difference", {t: f"Δ {BY_NAME[t].bids}" for t in TISSUES}, 1
            )
        else:
            mode = _choice("Show", "viewer-mode", _MODES)
        st.space("stretch")
        with st.popover(
            "Display", icon=":material/visibility:", help="Conventions, and the crosshair by keyboard"
        ):
            display, voxels = _display.toggles()
            at = _planes.by_keyboard()
    with st.container(key="viewer", gap=None):
        with st.container(key="planes", gap=None, height=420):
            if view == "surface":
                _surface.show(person, baseline, label, colour, side)
            else:
                _draw(pack, person, baseline, label, view, mode, at, display, not voxels)
        if view == "surface":
            st.html(_surface.read_out(person))
            return
        hint = f"{_planes.convention(display)} · click a plane to move the crosshair"
        more = ""
        if view == "difference":
            n = TISSUES.index(mode)
            change = f"{float(person.maps[(n, *at)] - baseline.maps[(n, *at)]):+.3f}".replace("-", "−")
            more = f"<span>Δ {BY_NAME[mode].bids} <b>{change}</b></span>"
            hint = "no difference: this person is the baseline" if person is baseline else hint
        elif mode == figures.CONTOURS:
            who = f"typical {_sex_word(pack, person)} person".replace("  ", " ")
            hint = f"over the mean of {AVERAGED} draws of the pack's {who} · {_planes.convention(display)}"
        _planes.read_out(person, at, more=more, hint=hint)


def _draw(pack, person, baseline, label, view, mode, at, display, smooth) -> None:  # type: ignore[no-untyped-def]
    """The figure of planes."""
    behind = average(pack, person).maps if mode == figures.CONTOURS else None
    if view == "pair":
        titles = (_title("This person", pack, person), _title(_headed(label), pack, baseline))
        figure = figures.pair_figure(
            person.maps,
            baseline.maps,
            at,
            titles=titles,
            display=display,
            mode=mode,
            behind=behind,
            smooth=smooth,
        )
    else:
        other = baseline.maps if view == "difference" else behind
        figure = figures.planes_figure(
            person.maps, at, display=display, mode=mode, baseline=other, smooth=smooth
        )
    _planes.chart(figure, "planes-chart", "Three planes of the generated brain", height="stretch")


def _choice(label: str, key: str, names: dict[str, str], first: int = 0) -> str:
    """Buttons of which one is chosen; the choice stays when the user comes back to the page."""
    held = st.session_state.setdefault("viewer-held", {})
    st.session_state.setdefault(key, held.get(key, list(names)[first]))
    held[key] = st.segmented_control(
        label, list(names), required=True, format_func=names.get, key=key, label_visibility="collapsed"
    )
    return held[key]


def average(pack: Pack, person: Brain) -> Brain:
    """The mean brain that lies behind this person's contours."""
    return _state.mean_brain_of(pack, average_person(pack, person), AVERAGED)


def _sex_word(pack: Pack, person: Brain) -> str:
    one = pack.schema.sex
    return escape(one.levels[str(person.features[one.name])]) if one else ""


def _headed(label: str) -> str:
    """Who the baseline is, as a heading; ids stay as they are."""
    return label if label.startswith("sub-") else label[:1].upper() + label[1:]


def _title(name: str, pack: Pack, brain: Brain) -> str:
    """Who a brain belongs to, and its volumes."""
    lines = [f"<b>{escape(name)}</b>", escape(_state.describe(pack, brain))]
    lines += [f"{t.bids} {brain.volumes_ml[t.name]:.1f} mL" for t in ALL]
    return "<br>".join(lines)
