"""Figures on their way out of the app: every form of each, and one zip with everything that belongs to a page."""

from __future__ import annotations

import io
import itertools
import json
import textwrap
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any, Final

import pandas as pd

from csegsynth_core import RESEARCH_USE, __version__
from csegsynth_core.data.volume_centiles import as_written
from csegsynth_core.methods_text import bibtex
from csegsynth_core.pack import Pack, found_by_name
from csegsynth_core.static_figures import COLUMN_MM, FORMATS, PAGE_MM, every_form

WIDTHS: Final[dict[float, str]] = {COLUMN_MM: "", PAGE_MM: "_wide"}
"""Width in mm → what is added to the name of a file."""
OWN_TABLE: Final = "table.csv"
"""A table of the user's among the files of a zip, as the page and the command `show` take it."""
PLOTLY_JS: Final = "plotly.min.js"

Tell = Callable[[float, str], object]
"""Is told the share of the work that is done, in [0, 1], and what is made now."""


def untold(share: float, what: str) -> None:
    """Where nobody is told."""


@dataclass(frozen=True)
class ExportFigure:
    """A figure of a page, made when it is asked for."""

    name: str
    """Start of its files' names."""
    title: str
    """What the user chooses it by."""
    file: Callable[[str, float], bytes]
    """Form (`svg`, `pdf`, `png`) and width in mm → content."""
    table: Callable[[], pd.DataFrame]
    """The tidy table behind it."""
    html: Callable[[], Any]
    """The interactive (Plotly) figure."""
    background: str = "#FFFFFF"
    """Behind the interactive figure."""
    note: str = ""
    """Lines below the title of the interactive figure, which may stand alone: signs, whose brain, which pack."""

    def csv(self) -> bytes:
        """The tidy table as CSV."""
        return csv(self.table())

    def page(self, plotly_js: bool | str = True) -> bytes:
        """The interactive figure as a page, with its title and note.

        Args:
            plotly_js: True: the page holds plotly.js (4.6 MB) and needs no network; `directory`: it expects
                `plotly.min.js` beside it.
        """
        figure = self.html()
        figure.update_layout(template=template(), paper_bgcolor=self.background, plot_bgcolor=self.background)
        _head(figure, self.title, self.note)
        page = figure.to_html(include_plotlyjs=plotly_js, full_html=True, div_id=self.name)
        return page.replace("<head>", f"<head><title>{escape(self.title)}</title>", 1).encode()


def _head(figure: Any, title: str, note: str) -> None:
    """Title and note in a margin of their own above a Plotly figure, which keeps its size."""
    lines = [
        part for line in note.splitlines() for part in ([line] if "<" in line else textwrap.wrap(line, 120))
    ]
    small = "".join(f'<br><span style="font-size:12px">{line}</span>' for line in lines)
    room, layout = 40 + 21 * len(lines), figure.layout
    height = (layout.height or 450) + room
    top = 100 if layout.margin.t is None else layout.margin.t  # Plotly's own where there is none
    figure.update_layout(
        height=height,
        margin={"t": top + room},
        title={"text": f"<b>{title}</b>{small}", "font": {"size": 16}, "x": 0, "xref": "container"}
        | {"y": 1 - 14 / height, "yref": "container", "yanchor": "top", "pad": {"l": 10}},
    )


@cache
def template() -> dict[str, Any]:
    """Look of interactive figures that are saved: Plotly's own, since the app's has colours that only its pages know.
    Keys are in one order, so that the same figure is the same file."""
    import plotly.io as pio

    look = pio.templates["plotly"].to_plotly_json()
    return dict(json.loads(json.dumps(look, sort_keys=True)))


SAME: Final = "The same numbers"
"""What a command gives that repeats all numbers of a page."""


ALL_AGAIN: Final = "All files again, figures too"
"""What `show` gives."""

OWN_PACK: Final = "First, for this pack of your own: `export CSEGSYNTH_PACKS=` the folder that holds it."
"""Said before commands that would not find a pack by its name (`pack.found_by_name`)."""


def note(pack: Pack) -> str:
    """One line that belongs to every figure."""
    simulated = "SIMULATED training data. " if pack.simulated else ""
    return f"{simulated}Synthetic brains, CSegSynth pack {pack.name} ({pack.hash[:12]})"


def csv(frame: pd.DataFrame) -> bytes:
    """A table (`volume_centiles.as_written`) as CSV with six significant digits, `n/a` where there is nothing."""
    return as_written(frame).to_csv(index=False, na_rep="n/a", float_format="%.6g").encode()


def people_csv(people: Mapping[str, Mapping[str, Any]]) -> bytes:
    """People's features as a table that the commands take: `sub-…` → features, None for unknown.

    Numbers keep all their digits.
    """
    rows = [{"participant_id": who} | dict(features) for who, features in people.items()]
    return pd.DataFrame(rows).to_csv(index=False, na_rep="n/a").encode()


def figure_files(figures: Sequence[ExportFigure], tell: Tell = untold) -> dict[str, bytes]:
    """Every figure in every form, for a column and for a page, with its table; in the folder `figures`."""
    out: dict[str, bytes] = {}
    for n, one in enumerate(figures):
        tell(n / len(figures), one.title)
        for width, suffix in WIDTHS.items():
            with every_form() as made:
                one.file(next(iter(FORMATS)), width)
            out |= {f"figures/{one.name}{suffix}.{form}": made[form] for form in FORMATS}
        out[f"figures/{one.name}.html"] = one.page("directory")
        out[f"figures/{one.name}.csv"] = one.csv()
    if figures:
        from plotly.offline import get_plotlyjs

        out[f"figures/{PLOTLY_JS}"] = get_plotlyjs().encode()
    return out


def everything(
    pack: Pack,
    figures: Sequence[ExportFigure],
    *,
    commands: Sequence[str],
    gives: str = SAME,
    methods: str,
    scenario: str = "",
    files: Mapping[str, bytes] | None = None,
    maps: Iterable[tuple[str, bytes]] = (),
    settings: Mapping[str, Any] | None = None,
    show: str = "",
    tell: Tell = untold,
) -> bytes:
    """One zip: figures in every form, tables, maps, scenario, methods, citation, and the commands that repeat it.

    Equal content gives equal bytes.

    Args:
        commands: lines for a shell, run in the unpacked folder, that make numbers of the zip again.
        gives: which numbers.
        methods: a paragraph for a paper.
        scenario: JSON of the view; see `scenario_file`.
        files: further files by name, such as `people.csv`.
        maps: path and content of a BIDS derivative's files; in the folder `maps`.
        settings: further fields of `settings.json`.
        show: a line for a shell that makes the whole zip again.
        tell: told what is made.
    """
    about = {
        "Synthetic": True,
        "ModelPack": pack.name,
        "ModelHash": pack.hash,
        "SimulatedTrainingData": pack.simulated,
        "SoftwareVersion": __version__,
    } | dict(settings or {})
    out = dict(files or {}) | figure_files(figures, lambda share, what: tell(0.9 * share, what))
    tell(0.9, "Maps and tables")
    out["methods.txt"] = (methods + "\n").encode()
    out["citation.bib"] = (bibtex() + "\n").encode()
    out["settings.json"] = json.dumps(about, indent=1, ensure_ascii=False, default=float).encode()
    if scenario:
        out["scenario.json"] = scenario.encode()
    out["README.txt"] = _readme(pack, figures, commands, gives, scenario, show, own=OWN_TABLE in out).encode()
    return zipped(itertools.chain(out.items(), ((f"maps/{n}", c) for n, c in maps)))


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Files by name as a zip, with dates left out so that equal files give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            stored = name.endswith((".gz", ".png", ".pdf"))
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return out.getvalue()


def _readme(
    pack: Pack,
    figures: Sequence[ExportFigure],
    commands: Sequence[str],
    gives: str,
    scenario: str,
    show: str,
    own: bool,
) -> str:
    """What is in the zip; with `own`, a table of the user's."""
    parts = [f"{note(pack)}.\nSamples of a generative model; not scans of anybody. {RESEARCH_USE}"]
    if figures:
        parts.append(
            f"figures/: SVG, PDF and PNG (300 dpi) for a column ({COLUMN_MM:g} mm) and, _wide, for a page "
            f"({PAGE_MM:g} mm); the tidy CSV behind each; interactive HTML, which needs {PLOTLY_JS} beside it and "
            "no network."
        )
    if scenario:
        less = f", without the people of {OWN_TABLE}, which no scenario file holds" if own else ""
        parts.append(
            f'scenario.json opens the same view{less}: "Save or open a scenario" in the app\'s sidebar.'
        )
    if (commands or show) and not found_by_name(pack):
        parts.append(OWN_PACK)
    if commands:
        parts.append(
            f"{gives} from the command line, in this folder:\n\n"
            + "\n".join(f"    {line}" for line in commands)
        )
    if show:
        parts.append(f"{ALL_AGAIN}:\n\n    {show}")
    parts.append(str(pack.about.get("attribution", "")))
    return "\n\n".join(p for p in parts if p) + "\n"
