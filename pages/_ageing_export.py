"""Downloads of the Ageing page; each is made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from csegsynth_core import page_views
from csegsynth_core import sweep_report as report
from csegsynth_core.figure_export import Tell, csv
from csegsynth_core.pack import Pack
from csegsynth_core.scenarios import VOLUMES
from csegsynth_core.static_figures import COLUMN_MM, FORMATS, PAGE_MM, trajectory_file
from pages import _figure_export, _link, _making, _sweeps
from pages._remember import in_session


def popover(pack: Pack, people: list[report.Named], unit: str, measures: tuple[str, ...]) -> None:
    """Figure, tables, text and the zip with all of it.

    Args:
        measures: volumes that the figure shows.
    """
    one = people[0][1]
    regions = measures != VOLUMES
    stem = f"csegsynth_{pack.name}_ageing" + ("_regions" if regions else "")

    def drawn() -> tuple:
        return (
            report.lines_of(people, unit=unit, measures=measures),
            report.reference_of(pack, one) if unit == "ml" else None,
        )

    def figure(form: str, width: float) -> Callable[[], bytes]:
        return lambda: trajectory_file(
            *drawn(), form=form, trained=one.trained_ages, unit=unit, age_units=pack.schema.age.units,
            width_mm=width, note=report.figure_note(one),
        )  # fmt: skip

    with st.popover("Export", icon=":material/download:", type="primary"):
        width = st.segmented_control(
            "Width of the figure", [COLUMN_MM, PAGE_MM], default=COLUMN_MM, required=True, key="export-width",
            format_func={COLUMN_MM: "Column, 88 mm", PAGE_MM: "Page, 180 mm"}.get, width="stretch",
        )  # fmt: skip
        with st.container(horizontal=True, gap="small"):
            for form, kind in FORMATS.items():
                _button(form.upper(), figure(form, width), f"{stem}.{form}", kind)
            _button(
                "HTML",
                lambda: report.html_file(*drawn(), one, unit=unit, age_units=pack.schema.age.units),
                f"{stem}.html",
                "text/html",
            )
        with st.container(horizontal=True, gap="small"):
            _button(
                "CSV of the figure",
                lambda: csv(report.figure_table(drawn()[0])),
                f"{stem}.csv",
                "text/csv",
            )
            _button(
                "CSV of all volumes",
                lambda: csv(report.volume_table(people)),
                f"{stem}_volumes.csv",
                "text/csv",
            )
            _button(
                "CSV of features",
                lambda: csv(report.feature_rows(people)),
                f"{stem}_features.csv",
                "text/csv",
            )
        with st.container(horizontal=True, gap="small"):
            _button(
                "Methods", lambda: report.methods_of(people, unit=unit), f"{stem}_methods.txt", "text/plain"
            )
            _button("BibTeX", report.bibtex, "csegsynth.bib", "text/x-bibtex")
        maps = st.toggle("with the filmstrip's maps (NIfTI, BIDS)", key="export-maps")
        view = page_views.View(unit=unit, maps=maps)
        _button(
            "Everything (zip)", _making.told(stem, lambda tell: everything(pack, people, view, tell)), f"{stem}.zip",
            "application/zip", type="primary", width="stretch",
        )  # fmt: skip
        _making.bar(stem)
        tables, commands = report.repeated(people)
        whom = "everybody drawn" if len(people) > 1 else "this person"
        files = ", ".join(f"`{name}`" for name in tables)
        _figure_export.own_pack(pack)
        st.caption(
            f"The same volumes of {whom} from the command line ({files}, to which rows can be added: in the zip):"
        )
        st.code("\n".join(commands), language="sh", wrap_lines=True)
        _figure_export.again(page_views.show_command("ageing", view))


def everything(pack: Pack, people: list[report.Named], view: page_views.View, tell: Tell) -> bytes:
    """The zip."""
    nowhere = st.empty()
    return page_views.ageing_zip(
        pack, _link.scenario_of(pack), view, people,
        lambda way: _sweeps.film(pack, people[0][1], way, page_views.STRIP_AGES, nowhere),
        tell,
    )  # fmt: skip


def _button(label: str, data: Callable[[], bytes | str], name: str, kind: str, **look: str) -> None:
    st.download_button(
        label, data=in_session(data), file_name=name, mime=kind, on_click="ignore", key=f"get-{name}", **look
    )
