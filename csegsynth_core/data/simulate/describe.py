"""The model's tables in Markdown, for `assets/simulation.md`; a test holds that the page has them as they are.

`python -m csegsynth_core.data.simulate.describe assets/simulation.md` puts them in.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from csegsynth_core.data.nifti import write_text
from csegsynth_core.data.simulate.effects import (
    BASE_ML,
    CSF_TO_VENTRICLES,
    EFFECTS,
    HEAD_SD,
    NOISE_SD,
    REFERENCES,
    RESERVE,
    VOLUMES,
)
from csegsynth_core.data.simulate.features import EQUATIONS, Equation


def effects_table() -> str:
    """One row per direct effect on the volumes, in per cent per unit of its term."""
    rows = ["| term | WM % | GM % | CSF % | ventricles % | source |", "|---|--:|--:|--:|--:|---|"]
    for e in EFFECTS:
        sizes = " | ".join(_percent(e.size(v)) for v in VOLUMES)
        rows.append(f"| {e.term} | {sizes} | {e.source} |")
    for title, table in (("latent reserve, 1 SD", RESERVE), ("own noise, SD", NOISE_SD)):
        rows.append(f"| {title} | " + " | ".join(_percent(table[v]) for v in VOLUMES) + " | own choice |")
    head = " | ".join([_percent(HEAD_SD)] * len(VOLUMES))
    rows.append(f"| head's own size, SD | {head} | own choice |")
    base = " | ".join(f"{BASE_ML[v]:g} mL" for v in VOLUMES)
    rows.append(
        f"| constant (a woman, all terms 0) | {base} | fitted to the moments that Wang 2025 implies |"
    )
    rows.append(f"\nVentricles also take {CSF_TO_VENTRICLES:g} times the own noise of CSF.")
    return "\n".join(rows)


def equations_table() -> str:
    """One row per variable: what it is made of."""
    rows = ["| variable | equation | value |", "|---|---|---|"]
    rows += [f"| `{e.name}` | {_score(e)} | {_value(e)} |" for e in EQUATIONS]
    return "\n".join(rows)


def references() -> str:
    """The literature, by key."""
    return "\n".join(f"- **{key}.** {text}." for key, text in sorted(REFERENCES.items()))


def _percent(size: float) -> str:
    return "0" if size == 0 else f"{100 * size:+.2f}"


def _terms(weights: dict[str, float]) -> str:
    return " ".join(f"{'+' if w >= 0 else '−'} {abs(w):g} {p}" for p, w in weights.items())


def _score(e: Equation) -> str:
    if e.form == "choice":
        return "; ".join(f"{k}: {start:g} {_terms(w)}".strip() for k, (start, w) in e.odds.items())
    text = f"{_terms(e.parents)} + {e.noise:.2f} ε".strip() if e.noise else _terms(e.parents)
    return text.removeprefix("+ ") or "—"


def _value(e: Equation) -> str:
    unit = f" {e.feature.units}" if e.feature is not None and e.feature.units else ""
    text = {
        "latent": "s",
        "normal": f"{e.mean:g} + {e.sd:g} s{unit}",
        "skewed": f"{e.mean:g} exp({e.sd:.2g} s)" + (f" − {e.zero:g}" if e.zero else "") + unit,
        "ordered": "levels, shares " + ", ".join(f"{100 * s:.0f}" for s in e.shares) + " %",
        "choice": "drawn by softmax of the log-odds",
        "rule": e.text,
    }[e.form]
    if e.only is not None:
        text += f"; 0 unless {e.only[0]} is {' or '.join(e.only[1])}"
    return text


def filled(page: str) -> str:
    """A page with the tables between its marks, `<!-- effects -->` and so on."""
    parts = {"effects": effects_table(), "references": references(), "equations": equations_table()}
    for name, text in parts.items():
        before, _, rest = page.partition(f"<!-- {name} -->")
        after = re.split(f"<!-- /{name} -->", rest, maxsplit=1)[-1]
        page = f"{before}<!-- {name} -->\n{text}\n<!-- /{name} -->{after}"
    return page


if __name__ == "__main__":
    path = Path(sys.argv[1])
    write_text(path, filled(path.read_text("utf-8")))
