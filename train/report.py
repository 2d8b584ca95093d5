"""What an evaluation found, as text for a terminal and as one HTML page that needs no other file."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any, Final

import pandas as pd
import torch

from csegsynth_core import __version__, figures, measured
from csegsynth_core.data.cohort import Cohort
from csegsynth_core.generate import encode
from csegsynth_core.pack import Pack, models_of
from csegsynth_core.tissue import BY_NAME, TISSUES
from train.evaluate import EVALUATION_SEED, NOT_RECORDED, people_of
from train.images import BIASED

PARTS: Final[Sequence[tuple[str, str, tuple[str, ...]]]] = (
    ("Table I", "images", ("mmd", "mmd_rbf", "fid_2d", "fid_3d", "delta_ssim")),
    ("Table II", "volumes", ("mape", "mae_ml", "r2")),
    ("Table III", "volumes", ("pearson", "spearman", "kendall")),
)
"""The paper's tables: name, key of the measurements, metrics."""

_NOTES: Final = {
    "Table I": "One draw of each person against the same people's real maps, by tissue. Intervals: 95 %, jackknife "
    "over people; floor: real people against other real people, mean and range over choices of people.",
    "Table II": "Volumes of generated maps against those of the prepared maps. Intervals: 95 %, bootstrap over "
    "people. Generative models: mean over latent draws, and a single draw of each person.",
    "Table III": "The same volumes; p of the test that there is no correlation.",
    "achievable": "Absolute errors beside those of the best predictor that the simulation allows (the median volume "
    "given everything that the table records of a person), and over them.",
    "memorisation": "Root mean square difference of tissue fractions between each brain and its nearest training "
    "brain. A model that copies training people lies nearer to them, relative to its median distance, than real "
    "people do.",
    "regions": "Read by the parcellation network off generated maps (mean over draws) and off the same people's real "
    "maps. The regressions were fitted to its reading of the training people's real maps.",
}

PAIRED: Final = (
    "Absolute error of CSegSynth minus that of the other method on the same people, mL. Below 0: better."
)
"""What paired differences are."""

MARKS: Final = (
    f"*: p < {measured.SIGNIFICANT}, Wilcoxon's signed-rank test; **: also after Holm's correction for all of this "
    "table's tests."
)
"""What the marks of `regions_compared` mean."""

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #1B2530; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } p, caption { color: #44525F; }
.notice { border-left: 4px solid #E69F00; padding-left: .8rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0 1.4rem; font-size: .9rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { text-align: right; padding: .25rem .8rem .25rem 0; border-top: 1px solid #D7DEE5; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; font-weight: 400; }
small { color: #6B7885; display: block; } .floor { background: #EEF2F5; }
.brains { background: #000; color: #C9D3DE; display: inline-grid; gap: 4px; padding: 10px; }
.brains span { align-self: center; padding-right: 1rem; } .brains img { height: 130px; }
"""


def as_text(found: dict[str, Any]) -> str:
    """Tables I to III as fixed-width text, with intervals and floors."""
    tidy = measured.tidy(found)
    lines = [f"{found['n']} people of {found['cohort']}, split {found['split']}{_seen(found)}"]
    for title, table, names in PARTS:
        for metric in names:
            own = tidy[(tidy["table"] == table) & (tidy["metric"] == metric)]
            if len(own):
                lines += ["", *_text_table(f"{title}: {_headed(metric)}", own, metric)]
    for table in ("achievable", "memorisation"):
        for metric in dict.fromkeys(tidy[tidy["table"] == table]["metric"]):
            own = tidy[(tidy["table"] == table) & (tidy["metric"] == metric)]
            lines += ["", *_text_table(f"{table.capitalize()}: {_headed(metric)}", own, metric)]
    for key, title in (
        ("paired", "CSegSynth's absolute error minus the other method's, mL (below 0: CSegSynth is better)"),
        ("beats_training_mean", "Absolute error minus that of predicting the training people's mean, mL"),
    ):
        pairs = measured.paired({"paired": found.get(key)})
        if len(pairs):
            lines += ["", title]
        for method, rows in pairs.groupby("method", sort=False):
            cells = [
                f"{r['difference_ml']:+7.1f} [{r['low']:+.1f}, {r['high']:+.1f}] p {_p(r['p'])}"
                for r in rows.to_dict("records")
            ]
            lines.append(f"{measured.name_of(str(method)):40s}" + "".join(f"{c:>36s}" for c in cells))
    for title, shown in (
        ("Regions: MAPE, % (lower is better)", regions_scored(found)),
        (f"Regions: {PAIRED[0].lower()}{PAIRED[1:]} {MARKS}", regions_compared(found)),
        (f"Regions: {measured.COUNTED[0].lower()}{measured.COUNTED[1:]}", measured.regions_counted(found)),
    ):
        if len(shown):
            lines += ["", *textwrap.wrap(title, 118), *shown.to_string().splitlines()]
    for title, said in (
        ("", measured.regions_said(found)),
        ("", beats_mean(found)),
        ("", floor_said(found)),
        ("Artefacts", ARTEFACTS if "left_right_asymmetry" in found else ""),
        ("Budgets", budget_said(found)),
    ):
        if said:
            lines += ["", *([title] if title else []), *textwrap.wrap(said, 118)]
        if said and title == "Artefacts":
            lines += artefacts_of(found).to_string(index=False).splitlines()
    lines += [
        f"{name:40s}steps {steps}; minutes of training {minutes}"
        + (f", of calibration {calibration}" if calibration != "–" else "")
        for name, steps, minutes, calibration in budgets(found)
    ]
    if "seconds" in found:
        lines += ["", f"Measured in {found['seconds'] / 60:.1f} minutes."]
    return "\n".join(lines)


def regions_scored(found: dict[str, Any], metric: str = "mape") -> pd.DataFrame:
    """A metric of every method (rows) in every region (columns), in words."""
    tidy = measured.tidy(found)
    own = tidy[(tidy["table"] == "regions") & (tidy["metric"] == metric)]
    return _in_words(own.assign(said=[measured.number(v, metric) for v in own["value"]]))


def regions_compared(found: dict[str, Any]) -> pd.DataFrame:
    """Paired differences of absolute error, mL, to every other method (rows) in every region (columns), in words.

    Significant ones have one or two asterisks, see `MARKS`.
    """
    pairs = measured.paired(found, "paired_regions")
    marks = [
        "**" if holm < measured.SIGNIFICANT else "*" if p < measured.SIGNIFICANT else ""
        for p, holm in zip(pairs["p"], measured.corrected(pairs), strict=True)
    ]
    return _in_words(
        pairs.assign(said=[f"{d:+.2f}{m}" for d, m in zip(pairs["difference_ml"], marks, strict=True)])
    )


def _in_words(rows: pd.DataFrame) -> pd.DataFrame:
    """What is `said` by method and part, in their order, with their names."""
    if rows.empty:
        return pd.DataFrame()
    table = rows.set_index(["method", "part"])["said"].unstack(sort=False).fillna("–")  # noqa: PD010 - no numbers
    return table.rename(index=measured.name_of, columns=measured.PARTS).rename_axis(index=None, columns=None)


def floor_said(found: dict[str, Any]) -> str:
    """Who is compared with whom for the floor, and what was done where that is not as for the models."""
    if "floor_people" not in found:
        return ""
    one, other = found["floor_people"]
    if "floors_of_halves" not in found:
        return f"Floor: {one} training people against these {other}, as many as models are compared on."
    halves = "; ".join(
        f"{measured.metric_of(m)[0]} "
        + ", ".join(f"{t.upper()} {found['floors_of_halves'][t][m]['value']:.3g}" for t in TISSUES)
        for m in BIASED
    )
    return (
        f"Floor: the cohort lacks enough of the training people, so {one} of these {found['n']} people against "
        f"{other} others of them; models are compared on all {found['n']}. FID of few people is too high, in "
        "proportion to 1/people (Chong and Forsyth 2020): its floors are rescaled to "
        f"{found['n']} against {found['n']}. As measured, which is no bar for the models: {halves}. |ΔSSIM| is that "
        "of the halves, and somewhat high; MMD has no bias."
    )


def beats_mean(found: dict[str, Any]) -> str:
    """Which generative models predict volumes better than the training people's mean does, and which do not."""
    table = found.get("beats_training_mean", {})
    if not table:
        return ""
    failing = [
        f"{measured.name_of(method)} in {t.upper()} ({by[t]['difference_ml']:+.1f} mL "
        f"[{by[t]['low']:+.1f}, {by[t]['high']:+.1f}]; R² {found['volumes'][method][t]['r2']['value']:.2f})"
        for method, by in table.items()
        for t in TISSUES
        if not by[t]["beats"]
    ]
    said = (
        "A generative model beats predicting the training people's mean where its mean absolute error is smaller, "
        "with all of the paired 95 % bootstrap interval of the difference. "
    )
    if not failing:
        return f"{said}Every model does, in every tissue."
    return f"{said}NOT SO: {'; '.join(failing)}. All others do."


ARTEFACTS: Final = (
    "Energy of generated maps that repeats every 2 voxels (the Nyquist frequency) and every 4 along each axis, over "
    "that of the same people's real maps: checkerboards would be far above 1. Asymmetry: left and right, "
    "|L − R|/(L + R) of tissue volumes, mean over people, %, with 95 % jackknife intervals."
)
"""What `artefacts_of` holds."""


def artefacts_of(found: dict[str, Any]) -> pd.DataFrame:
    """Repeating patterns and unlike halves of the brains, in words; a row for each model and one for real people."""
    rows = []
    for method, halves in found.get("left_right_asymmetry", {}).items():
        repeating = found["energy_at_2_and_4_voxels"].get(method, {})
        rows.append(
            {"brains": "Real people" if method == "real" else measured.name_of(method)}
            | {
                k.removesuffix("_voxels").replace("_", ", every "): _ratio(cell)
                for k, cell in repeating.items()
            }
            | {f"asymmetry {t.upper()}": _percent(halves[t]) for t in TISSUES}
        )
    return pd.DataFrame(rows[1:] + rows[:1]).fillna("–")  # real people last, as floors are


def _ratio(cell: dict[str, Any]) -> str:
    return "n/a" if cell["value"] is None else f"{cell['value']:.2f}"


def _percent(cell: dict[str, Any]) -> str:
    low, high = cell["low"], cell["high"]
    return f"{100 * cell['value']:.1f}" + (
        "" if low is None else f" [{100 * max(low, 0.0):.1f}, {100 * high:.1f}]"
    )


def budget_said(found: dict[str, Any]) -> str:
    """What the models were given, and which of them had a step more."""
    models = found.get("models", {})
    if not models:
        return ""
    said = (
        "All models were given the same people, features and maps. Steps: of pre-training and of fine-tuning; "
        "minutes are of both, on the machines that trained."
    )
    minutes = [by["calibration_minutes"] for by in models.values() if "calibration_minutes" in by]
    if not minutes:
        return said
    names = " and ".join(measured.name_of(m) for m, by in models.items() if "calibration_minutes" in by)
    time = f"took {minutes[0]} minutes" if minutes[0] != NOT_RECORDED else f"time: {NOT_RECORDED}"
    return (
        f"{said} {names} alone is calibrated on the training people afterwards ({time}; not within the minutes of "
        f"training{_together(models)}); the models that it is compared with have no such step."
    )


def _together(models: dict[str, Any]) -> str:
    """How long the model that is calibrated took with all, beside the other deep models' training, where known."""
    deep = {m: by for m, by in models.items() if by.get("steps") and "training_minutes" in by}
    whole = [
        round(by["training_minutes"] + by["calibration_minutes"], 1)
        for by in deep.values()
        if by.get("calibration_minutes", NOT_RECORDED) != NOT_RECORDED
    ]
    others = sorted(by["training_minutes"] for by in deep.values() if "calibration_minutes" not in by)
    if not whole or not others:
        return ""
    they = f"{others[0]}" if others[0] == others[-1] else f"{others[0]} to {others[-1]}"
    more = "MORE" if whole[0] > others[0] else "no more"
    return f". With them {whole[0]} minutes in all, {more} than the other networks' training: {they}"


def budgets(found: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Each model's name, steps, minutes of training (and on what) and minutes of calibration, in words."""
    rows = []
    for method, by in found.get("models", {}).items():
        steps = f"{by['steps'] or 'n/a'}"
        if "finetuning_steps" in by:
            steps = f"{by['pretraining_steps']} + {by['finetuning_steps']}"
        minutes = f"{by.get('training_minutes', NOT_RECORDED)}"
        if "pretraining_minutes" in by:
            minutes += f" ({by['pretraining_minutes']} of pre-training)"
        if "device" in by:
            minutes += f", {by['device']}"
        rows.append((measured.name_of(method), steps, minutes, f"{by.get('calibration_minutes', '–')}"))
    return rows


def as_html(found: dict[str, Any], pack: Pack, cohort: Cohort) -> str:
    """The whole evaluation as one page: the paper's Fig. 2 for our models, Tables I to III, tests and notes.

    It shows slices of one real person of the cohort: the page is as private as the cohort is.
    """
    tidy = measured.tidy(found)
    simulated = (
        '<p class="notice"><b>Simulated people.</b> Nothing here is evidence about real people.</p>'
        if cohort.simulated
        else ""
    )
    parts = [
        f"<h1>Evaluation of {escape(pack.name)} on {escape(found['cohort'])}</h1>",
        f"<p>{escape(str(pack.about['title']))}. {found['n']} people, split {found['split']}{_seen(found)}; "
        f"{found['n_train']} people trained on; {found['draws']} latent draws of each person. "
        f"CSegSynth {__version__}, pack {pack.hash[:12]}.</p>{simulated}"
        '<p class="notice">Research use only. Generated brains are samples of a model, not measurements.</p>',
        _figure_two(pack, cohort, found["split"]),
    ]
    for title, table, names in PARTS:
        parts.append(f"<h2>{title}</h2><p>{_NOTES[title]}</p>")
        if table == "images":
            said = "; ".join(f"{measured.metric_of(k)[0]}: {v}" for k, v in found["extractors"].items())
            parts.append(f"<p>{escape(said)}. {escape(floor_said(found))}</p>")
        parts += [_html_table(tidy, table, metric) for metric in names]
    parts += ["<h2>Paired tests</h2>", _paired(found, "paired", PAIRED)]
    if "beats_training_mean" in found:
        parts += ["<h2>Beside predicting the mean</h2>"]
        parts += [_paired(found, "beats_training_mean", beats_mean(found))]
    if "left_right_asymmetry" in found:
        parts.append(f"<h2>Artefacts</h2><p>{escape(ARTEFACTS)}</p>")
        parts.append(_frame_html(artefacts_of(found), "brains"))
    for table in ("achievable", "regions", "memorisation"):
        own = tidy[tidy["table"] == table]
        if len(own):
            parts.append(f"<h2>{_TITLES[table]}</h2><p>{_NOTES[table]}</p>")
            names = ("mape", "pearson") if table == "regions" else tuple(dict.fromkeys(own["metric"]))
            parts += [_html_table(tidy, table, metric) for metric in names]
        if table == "regions" and found.get("paired_regions"):
            parts.append(_paired(found, "paired_regions", f"{PAIRED} {measured.regions_said(found)}"))
            counted = measured.regions_counted(found).rename_axis("method").reset_index()
            parts.append(f"<p>{escape(measured.COUNTED)}</p>{_frame_html(counted, 'method')}")
    parts.append(
        f"<h2>Models</h2><p>What each was given, as its pack tells; seconds are of this machine. "
        f"{escape(budget_said(found))}</p>"
    )
    parts.append(
        _frame_html(
            pd.DataFrame(
                budgets(found), columns=["model", "steps", "minutes of training", "minutes of calibration"]
            ),
            "model",
        )
    )
    told = measured.others(found)["models"]
    parts.append(_frame_html(told.assign(what=told["what"].map(measured.name_of)), "what"))
    parts.append(f"<h2>Limits</h2><p>{escape(str(pack.about.get('limits', '')))}</p>")
    parts.append(f"<p>{escape(str(pack.about['attribution']))}</p>")
    command = f"python -m train evaluate --pack {escape(pack.name)} --cohort DIR --split {found['split']}"
    parts.append(f"<p><code>{command}</code></p>")
    head = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Evaluation of {escape(pack.name)}</title>"
    )
    return f"{head}<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"


_TITLES: Final = {
    "achievable": "Beside the best achievable",
    "regions": "Regions",
    "memorisation": "Memorisation",
}


def _figure_two(pack: Pack, cohort: Cohort, split: Any) -> str:
    """One person through all models, as in the paper's Fig. 2, below the person's real maps."""
    people = people_of(pack, cohort, split)
    one = people.select(people.ids[:1])
    frame = one.raw.copy()
    frame.index.name = "participant_id"
    rows = [("Real", cohort.maps(one.ids[0]))]
    for name, model in models_of(pack).items():
        y = torch.from_numpy(encode(model, frame.reset_index()).x[:1])
        with torch.inference_mode():
            made = model.model.on_grid(model.model(y, model.model.draw(8, EVALUATION_SEED + 1)[:1]))
        rows.append((measured.name_of(name), made[0, : len(TISSUES)].numpy()))
    cells = "".join(
        f"<span>{escape(name)}</span>"
        + "".join(f'<img alt="" src="{figures.picture_url(p, 2)}">' for p in figures.three_planes(maps))
        for name, maps in rows
    )
    said = "simulated person's maps" if cohort.simulated else "person's own maps"
    return (
        "<h2>One person through all models</h2><p>As the paper's Fig. 2: sagittal, coronal and axial slices, a draw "
        f"of each model for the first person of this split; the top row holds this {said}, so share this page only "
        "as the cohort may be shared. Orange: white matter; green: grey matter; blue: CSF. Left is left.</p>"
        f'<div class="brains" style="grid-template-columns: auto auto auto auto">{cells}</div>'
    )


def _seen(found: dict[str, Any]) -> str:
    count = found.get("n_trained_on", 0)
    return f" (TRAINING SAW {count} OF THEM: their errors are too small)" if count else ""


def _headed(metric: str) -> str:
    name, direction, _ = measured.metric_of(metric)
    return f"{name} ({direction} is better)" if direction else name


def _text_table(title: str, own: pd.DataFrame, metric: str) -> list[str]:
    parts = list(dict.fromkeys(own["part"]))
    lines = [title, f"{'':40s}" + "".join(f"{p.upper():>36s}" for p in parts)]
    for method, rows in own.groupby("method", sort=False):
        by = {r["part"]: r for r in rows.to_dict("records")}
        cells = [_cell(by[p], metric) if p in by else "" for p in parts]
        lines.append(f"{_name(str(method)):40s}" + "".join(f"{c:>36s}" for c in cells))
    return lines


def _name(method: str) -> str:
    return "real against real (floor)" if method == "floor" else measured.name_of(method)


def _cell(row: dict[str, Any], metric: str, between: str = " ") -> str:
    form = measured.metric_of(metric)[2]
    if pd.isna(row["value"]):
        return "n/a"
    text = f"{row['value']:{form}}"
    if not pd.isna(row["low"]):
        text += f"{between}[{row['low']:{form}}, {row['high']:{form}}]"
    if not pd.isna(row["p"]):
        text += f" p {_p(row['p'])}"
    return text


def _p(value: float | None) -> str:
    if value is None or pd.isna(value):
        return "n/a"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _html_table(tidy: pd.DataFrame, table: str, metric: str) -> str:
    own = tidy[(tidy["table"] == table) & (tidy["metric"] == metric)]
    if own.empty:
        return ""
    parts = list(dict.fromkeys(own["part"]))
    heads = "".join(
        f"<th>{BY_NAME[p].bids if p in BY_NAME else escape(p.replace('_', ' '))}</th>" for p in parts
    )
    rows = []
    real = own["method"].isin(measured.REFERENCES)
    best = {
        p: measured.best(own[(own["part"] == p) & ~real]["value"], measured.metric_of(metric)[1])
        for p in parts
    }
    for method, group in own.groupby("method", sort=False):
        by = {r["part"]: r for r in group.to_dict("records")}
        cells = []
        for p in parts:
            text = escape(_cell(by[p], metric, "\n")) if p in by else "–"
            value, _, rest = text.partition("\n")
            value = f"<b>{value}</b>" if p in by and by[p]["value"] == best[p] else value
            cells.append(f"<td>{value}{f'<small>{rest}</small>' if rest else ''}</td>")
        kind = ' class="floor"' if method in measured.REFERENCES else ""
        rows.append(f"<tr{kind}><td>{escape(_name(str(method)))}</td>{''.join(cells)}</tr>")
    return (
        f"<table><caption>{escape(_headed(metric))}</caption><thead><tr><th></th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _paired(found: dict[str, Any], key: str, note: str) -> str:
    rows, pairs = [], measured.paired(found, key)
    digits = 2 if key == "paired_regions" else 1  # regions are small
    for method, group in pairs.groupby("method", sort=False):
        cells = "".join(
            f"<td>{r['difference_ml']:+.{digits}f}"
            f"<small>[{r['low']:+.{digits}f}, {r['high']:+.{digits}f}] p {escape(_p(r['p']))}</small></td>"
            for r in group.to_dict("records")
        )
        rows.append(f"<tr><td>{escape(measured.name_of(str(method)))}</td>{cells}</tr>")
    heads = "".join(f"<th>{escape(measured.PARTS.get(p, p))}</th>" for p in dict.fromkeys(pairs["part"]))
    return (
        f"<p>{escape(note)} Intervals: 95 %, bootstrap over people; p: Wilcoxon's signed-rank test.</p>"
        f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _frame_html(table: pd.DataFrame, names: str) -> str:
    columns = [c for c in table.columns if c != names]
    heads = "".join(f"<th>{escape(str(c).replace('_', ' '))}</th>" for c in columns)
    rows = "".join(
        f"<tr><td>{escape(str(r[names]))}</td>"
        + "".join(f"<td>{escape(str(r[c]))}</td>" for c in columns)
        + "</tr>"
        for r in table.to_dict("records")
    )
    return f"<table><thead><tr><th></th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
