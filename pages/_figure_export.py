"""One popover for every page's exports: figures in every form, tables, and a zip with everything.

Each file is made when it is asked for, so that pages stay fast. Opening the popover runs the page again: what is
saved is what is on screen, also after a click that redrew a fragment of the page alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from csegsynth_core import figure_export
from csegsynth_core.figure_export import ExportFigure, Tell, csv
from csegsynth_core.pack import Pack, found_by_name
from csegsynth_core.static_figures import COLUMN_MM, FORMATS, PAGE_MM
from pages import _making
from pages._remember import in_session

_WITH_FRAGMENTS = ("individual", "influence", "compare")

File = tuple[str, str, str, Callable[[], bytes | str]]
"""Label, name, media type, and what makes the content."""


def popover(
    pack: Pack,
    page: str,
    figures: Sequence[ExportFigure],
    *,
    files: Sequence[File] = (),
    everything: Callable[[Tell], bytes] | None = None,
    commands: Sequence[str] = (),
    gives: str = figure_export.SAME,
    show: str = "",
) -> None:
    """The page's exports.

    Args:
        page: short name; part of the files' names.
        files: tables and maps besides the figures.
        everything: makes the zip, telling what it makes.
        commands: lines for a shell that make numbers of the page again.
        gives: which numbers; begins a sentence.
        show: the line that makes the whole zip again.
    """
    stem = f"csegsynth_{pack.name}_{page}"
    place = st.popover(
        "Export", icon=":material/download:", type="primary", key=f"export-{page}", on_change="rerun"
    )
    if not place.open:  # buttons of an older run would save an older view
        return
    with place:
        if figures:
            _figure(stem, page, figures)
        for start in range(0, len(files), 2):
            with st.container(horizontal=True, gap="small"):
                for label, name, kind, data in files[start : start + 2]:
                    button(label, data, name, kind)
        if everything is not None:
            button(
                "Everything (zip)", _making.told(stem, everything), f"{stem}.zip", "application/zip",
                kind="primary", width="stretch",
            )  # fmt: skip
            _making.bar(stem)
        if commands or show:
            own_pack(pack)
        if commands:
            st.caption(f"{gives} from the command line (`people.csv` is in the zip):")
            st.code("\n".join(commands), language="sh", wrap_lines=True)
        if show:
            again(show)


def follow() -> None:
    """In a fragment of a page: run the whole page where its exports are open, so that they are of the view shown."""
    here = get_script_run_ctx()
    shown = any(st.session_state.get(f"export-{page}") for page in _WITH_FRAGMENTS)
    if shown and here is not None and here.fragment_ids_this_run:
        st.rerun()


def own_pack(pack: Pack) -> None:
    """What is needed before commands find the user's own pack."""
    if not found_by_name(pack):
        st.caption(figure_export.OWN_PACK)


def again(show: str) -> None:
    """The line that makes the whole zip again."""
    st.caption(f"{figure_export.ALL_AGAIN} (`scenario.json` is in the zip, or saved from the sidebar):")
    st.code(show, language="sh", wrap_lines=True)


def _figure(stem: str, page: str, figures: Sequence[ExportFigure]) -> None:
    """Which figure, how wide, and a button for each form."""
    by_name = {one.name: one for one in figures}
    name = next(iter(by_name))
    if len(by_name) > 1:
        held = f"export-figure-{page}"
        before = st.session_state.get(held)
        titles = "\n".join(one.title for one in figures)
        name = st.session_state[held] = st.selectbox(
            "Figure", list(by_name), list(by_name).index(before) if before in by_name else 0,
            format_func=lambda n: by_name[n].title,
            key=f"{held}-{zlib.crc32(titles.encode())}",  # with other titles it is another: it would show the old one
        )  # fmt: skip
    one = by_name[name]
    width = st.segmented_control(
        "Width", [COLUMN_MM, PAGE_MM], default=COLUMN_MM, required=True, key=f"export-width-{page}",
        persist_state="page", format_func={COLUMN_MM: "Column, 88 mm", PAGE_MM: "Page, 180 mm"}.get, width="stretch",
    )  # fmt: skip
    with st.container(horizontal=True, gap="small"):
        for form, kind in FORMATS.items():
            button(form.upper(), _drawn(one, form, width), f"{stem}_{name}.{form}", kind)
        button("HTML", one.page, f"{stem}_{name}.html", "text/html")
        button("CSV", one.csv, f"{stem}_{name}.csv", "text/csv")


def _drawn(one: ExportFigure, form: str, width: float) -> Callable[[], bytes]:
    return lambda: one.file(form, width)


def button(
    label: str,
    data: Callable[[], bytes | str],
    name: str,
    media: str,
    *,
    kind: str = "secondary",
    **look: str,
) -> None:
    """A download that is made when it is asked for."""
    st.download_button(
        label,
        data=in_session(data),
        file_name=name,
        mime=media,
        on_click="ignore",
        key=f"get-{name}",
        type=kind,
        **look,
    )


def table(label: str, name: str, frame: Callable[[], object]) -> File:
    """A table among `files`."""
    return label, f"{name}.csv", "text/csv", lambda: csv(frame())
