"""What the pages share: the model pack, the person, the baseline, the draw. Kept for each pack apart."""

from __future__ import annotations

from typing import Any

import streamlit as st

from csegsynth_core.generate import Brain, generate_one, mean_brain
from csegsynth_core.pack import Pack, find, load_pack
from csegsynth_core.page_views import baseline_of, typical
from pages import _packs, _shelf

Person = dict[str, Any]
"""Natural value of each feature; None for unknown."""


@st.cache_resource(max_entries=4, show_spinner="Loading the model…")
def _load(name: str, folder: str, stamp: float) -> Pack:
    return load_pack(folder)


def load(name: str) -> Pack:
    """A pack by name; loaded anew when its files change.

    Raises:
        PackError: there is none, or it is damaged.
    """
    packs = _packs.found().packs
    folder = packs[name] if name in packs else find(name)
    return _load(name, str(folder), (folder / "pack.json").stat().st_mtime)


def brain_of(pack: Pack, person: Person, seed: int) -> Brain:
    """The brain of a person; computed once, while there is room for it."""

    def make() -> Brain:
        brain = generate_one(pack, dict(person), seed=seed)
        brain.maps.flags.writeable = False  # shared by all pages
        return brain

    return _shelf.of_session().take((pack.hash, tuple(person.items()), seed), make)


def mean_brain_of(pack: Pack, person: Person, draws: int) -> Brain:
    """The mean over draws of a person's brain; computed once, while there is room for it."""
    key = (pack.hash, tuple(person.items()), "mean", draws)
    return _shelf.of_session().take(key, lambda: mean_brain(pack, dict(person), draws=draws))


def choose_pack() -> Pack:
    """The selector of packs, and the pack chosen.

    Raises:
        PackError: there is none, or the chosen one is damaged.
    """
    _packs.choose()
    return current_pack()


def current_pack() -> Pack:
    """The pack chosen in the sidebar; loaded anew when its files change."""
    if "pack" not in st.session_state:
        st.switch_page("app.py")  # a page was opened without its router
    return load(st.session_state["pack"])


def memory(pack: Pack) -> dict[str, Any]:
    """What is remembered for a pack; `baseline` None: a typical person; `turn` counts the people put in."""
    key = f"memory-{pack.hash[:12]}"
    if key not in st.session_state:
        person = typical(pack, None)
        st.session_state[key] = {
            **{"person": person, "start": dict(person), "seed": 0, "baseline": None, "label": ""},
            **{"notes": [], "turn": 0, "sweep": None, "overlay": []},
        }
    return st.session_state[key]


def baseline(pack: Pack) -> tuple[Person, str]:
    """The person to compare with, and what to call them."""
    held = memory(pack)
    return baseline_of(pack, held["person"], held["baseline"], held["label"])


def describe(pack: Pack, brain: Brain) -> str:
    """`female, 48 years`: who a brain belongs to."""
    return describe_person(pack, brain.features)


def describe_person(pack: Pack, person: Person) -> str:
    """`female, 48 years`; what is unknown is left out."""
    return pack.schema.describe(person)


def set_person(pack: Pack, person: Person, *, notes: list[str] | None = None) -> None:
    """Give all controls the values of a person. The turn makes new widgets, which start from them."""
    held = memory(pack)
    held["person"], held["start"], held["notes"] = dict(person), dict(person), notes or []
    held["turn"] += 1


def set_seed(pack: Pack, seed: int) -> None:
    """Take another draw; to be called before the controls are drawn."""
    memory(pack)["seed"] = seed
    st.session_state[f"seed-{pack.hash[:8]}"] = seed


def set_baseline(pack: Pack, person: Person | None, label: str = "") -> None:
    """Compare with this person from now on; None: with a typical person of the same sex."""
    memory(pack)["baseline"] = None if person is None else dict(person)
    memory(pack)["label"] = label
