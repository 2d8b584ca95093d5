"""Downloads of the Ageing page; each is made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from csegsynth_core import figures
from csegsynth_core import sweep_report as report
from csegsynth_core.generate import generate
from csegsynth_core.pack import Pack
from csegsynth_core.scenarios import VOLUMES
from csegsynth_core.static_figures import COLUMN_MM, FORMATS, PAGE_MM, strip_file, trajectory_file
from pages import _ageing_views, _figure_export, _link, _planes, _sweeps
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
                lambda: report.csv(report.figure_table(drawn()[0])),
                f"{stem}.csv",
                "text/csv",
            )
            _button(
                "CSV of all volumes",
                lambda: report.csv(report.volume_table(people)),
                f"{stem}_volumes.csv",
                "text/csv",
            )
            _button(
                "CSV of features",
                lambda: report.csv(report.feature_rows(people)),
                f"{stem}_features.csv",
                "text/csv",
            )
        with st.container(horizontal=True, gap="small"):
            _button(
                "Methods", lambda: report.methods_of(people, unit=unit), f"{stem}_methods.txt", "text/plain"
            )
            _button("BibTeX", report.bibtex, "csegsynth.bib", "text/x-bibtex")
        maps = st.toggle("with the filmstrip's maps (NIfTI, BIDS)", key="export-maps")
        _button(
            "Everything (zip)", lambda: everything(pack, people, unit, maps=maps), f"{stem}.zip",
            "application/zip", type="primary", width="stretch",
        )  # fmt: skip
        tables, commands = report.repeated(people)
        whom = "everybody drawn" if len(people) > 1 else "this person"
        files = ", ".join(f"`{name}`" for name in tables)
        _figure_export.own_pack(pack)
        st.caption(
            f"The same volumes of {whom} from the command line ({files}, to which rows can be added: in the zip):"
        )
        st.code("\n".join(commands), language="sh", wrap_lines=True)


def everything(pack: Pack, people: list[report.Named], unit: str, *, maps: bool) -> bytes:
    """The zip."""
    one = people[0][1]
    brains = {}
    if maps:
        for scenario in one.plan.scenarios:
            some = report.path_sample(one, scenario, _ageing_views.STRIP_AGES)
            table = some[list(pack.schema.names)].assign(
                participant_id=[f"sub-age{str(round(10 * a)).zfill(4)}" for a in some[pack.schema.age.name]]
            )
            brains[scenario] = generate(pack, table, seed=one.plan.seed)
    extra = _strips(pack, people) | {"scenario.json": _link.scenario_of(pack).to_json().encode()}
    return report.everything(people, pack, unit=unit, brains=brains, extra=extra)


def _strips(pack: Pack, people: list[report.Named]) -> dict[str, bytes]:
    """The filmstrip as it is on the screen, in every form."""
    one, display = people[0][1], _planes.conventions()
    nowhere = st.empty()
    rows, ages, trained = [], [], []
    for scenario in one.plan.scenarios:
        frames = _sweeps.film(pack, one, scenario, _ageing_views.STRIP_AGES, nowhere)
        rows.append((scenario, figures.film_slices(frames, display=display)))
        ages, trained = [f.age for f in frames], [f.trained for f in frames]
    side = figures.view("axial", display)
    return {
        f"filmstrip.{form}": strip_file(
            rows, ages, trained=trained, one=side, form=form, age_units=pack.schema.age.units,
            note=report.note(one),
        )
        for form in FORMATS
    }  # fmt: skip


def _button(label: str, data: Callable[[], bytes | str], name: str, kind: str, **look: str) -> None:
    st.download_button(
        label, data=in_session(data), file_name=name, mime=kind, on_click="ignore", key=f"get-{name}", **look
    )
