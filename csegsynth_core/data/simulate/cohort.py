"""`simulate`: virtual people become a prepared cohort, with the truth about them beside it.

    people → per person (in parallel): brain → maps, picture, record → one rename
           → tables (participants, volumes, truth) → packed array

As with `prepare`, a person's folder is built under a name that begins with a dot and renamed when whole.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core import __version__, grid
from csegsynth_core.data import bids, cohort
from csegsynth_core.data.nifti import write_bytes, write_nifti, write_text
from csegsynth_core.data.parallel import Pool, alone, remove_unfinished
from csegsynth_core.data.simulate import people as people_module
from csegsynth_core.data.simulate.effects import EFFECTS, REFERENCES, VOLUMES
from csegsynth_core.data.simulate.people import People, draw, latent_table, schema
from csegsynth_core.errors import PipelineError, SourceError
from csegsynth_core.tissue import ALL, TISSUES

VERSION: Final = 1
"""Raise when a change makes other people of the same seed."""
NOTICE: Final = (
    "SIMULATED. Virtual people made by CSegSynth from a structural causal model and the ICBM152 average brain. "
    "They do not exist; nothing here is a measurement of anybody."
)
_CHUNK: Final = 2000
"""People in memory at a time when tables are written."""


@dataclass(frozen=True)
class Plan:
    """What to make."""

    n: int = 462
    seed: int = 0
    unconditional: bool = False
    """Brains without features, for pre-training; never the people of a cohort with features."""
    t1: bool = False
    coarse: bool = False
    """Compute on 4 mm voxels: fast and blocky, for tests."""

    @property
    def stream(self) -> str:
        """Which stream of people, see `people.STREAMS`."""
        return "pre" if self.unconditional else "sim"

    @property
    def fingerprint(self) -> str:
        """Changes when a person's maps would."""
        parts = [VERSION, self.seed, self.stream, self.t1, self.coarse]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


PRESETS: Final = {
    "tiny": Plan(n=8, coarse=True),
    "camcan": Plan(n=462),
    "pretrain": Plan(n=2000, unconditional=True),
}


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    made: int
    reused: int
    folder: str


def simulate(
    dest: Path, plan: Plan, *, workers: int | None = None, progress: bool = True, volumes_only: bool = False
) -> Outcome:
    """Write a virtual cohort, or go on with one.

    Args:
        dest: folder of the cohort; may hold an earlier, unfinished run of the same plan.
        plan: what to make.
        workers: processes; default one per core. The result does not depend on it.
        progress: show a progress bar.
        volumes_only: features, volumes and truth, but no brains.

    Raises:
        SourceError: `dest` holds something else, or another simulation.
        PipelineError: a brain could not be made.
        OSError: the disk is full or not writable. What was finished stays; run again to go on.
    """
    dest = Path(dest)
    _check_dest(dest, plan)
    dest.mkdir(parents=True, exist_ok=True)
    with alone(dest, "simulate"):
        remove_unfinished(dest)
        (dest / "packed.json").unlink(missing_ok=True)  # unfinished until all is whole
        write_text(dest / "dataset_description.json", _description(plan))
        write_text(dest / "simulation.json", json.dumps(asdict(plan) | {"version": VERSION}, indent=1))
        reused = 0
        if not volumes_only:
            ids = draw(plan.n, seed=plan.seed, stream=plan.stream).ids
            todo = [k for k in range(plan.n) if not _finished(dest, ids[k], plan)]
            reused = plan.n - len(todo)
            cores = max(1, min(workers or os.cpu_count() or 1, len(todo)))
            work = partial(_make_person, plan=plan, dest=str(dest))
            pool = Pool(work, lambda k: ids[k], dest, cores, "simulate", progress)
            if cores == 1:
                pool.run_here(todo)
            elif failures := pool.run(todo):
                name, reason = next(iter(failures.items()))
                raise PipelineError(
                    f"{len(failures)} of {plan.n} people could not be made",
                    got=f"{name}: {reason}",
                    fix="run the same command again; what was finished is kept",
                )
        _write_tables(dest, plan, volumes_only=volumes_only)
        if not volumes_only:
            write_text(dest / "dseg.tsv", bids.dseg_table())
            cohort.write_packed(dest, ids)
    return Outcome(plan.n - reused, reused, str(dest))


def _check_dest(dest: Path, plan: Plan) -> None:
    if not dest.exists():
        return
    if not dest.is_dir():
        raise SourceError(f"DEST {dest} is a file", expected="a new folder, or one of an earlier run")
    try:
        earlier = json.loads((dest / "simulation.json").read_text("utf-8"))
    except FileNotFoundError:
        if any(not p.name.startswith(".") for p in dest.iterdir()):
            raise SourceError(
                f"DEST {dest} holds other files",
                expected="a new folder, an empty one, or one of an earlier run of simulate",
                fix="write to another folder",
            ) from None
        return
    except (OSError, ValueError) as error:
        raise SourceError(f"{dest / 'simulation.json'} cannot be read", got=str(error)) from error
    now = asdict(plan) | {"version": VERSION}
    other = [k for k in ("seed", "unconditional", "version", "coarse") if earlier.get(k) != now[k]]
    if other:
        raise SourceError(
            f"DEST {dest} holds another simulation",
            expected=", ".join(f"{k} {earlier.get(k)}" for k in other),
            got=", ".join(f"{k} {now[k]}" for k in other),
            fix="write to another folder",
        )


def _description(plan: Plan) -> str:
    out = json.loads(bids.dataset_description(f"virtual cohort of {plan.n}, seed {plan.seed} (simulated)"))
    out |= {"Synthetic": True, "Simulated": True, "Notice": NOTICE}
    out["GeneratedBy"][0]["Description"] = "Structural causal model and morphed ICBM152 average; no scans."
    out["Acknowledgements"] = (
        "ICBM152 2009 nonlinear symmetric average: (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, "
        "Montreal Neurological Institute, McGill University (carried by nilearn)."
    )
    return json.dumps(out, indent=1, ensure_ascii=False)


# ---------------------------------------------------------------- one person


def _make_person(number: int, plan: Plan, dest: str) -> None:
    """Everything for one person, in a worker process."""
    from csegsynth_core.data.pictures import person_picture
    from csegsynth_core.data.simulate.anatomy import make_brain

    person = draw(1, seed=plan.seed, first=number, stream=plan.stream)
    name = person.ids[0]
    brain = make_brain(person.targets(), person.brain_seed(), t1=plan.t1, coarse=plan.coarse)
    final = Path(dest) / name
    staging = Path(dest) / f".part-{name}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        folder, stem = staging / "anat", f"{name}_space-{grid.SPACE}"
        for k, tissue in enumerate(ALL):
            path = folder / f"{stem}_label-{tissue.bids}_probseg.nii.gz"
            write_nifti(path, brain.maps[k], grid.affine(), description=f"simulated {tissue.bids}")
            fields = {"Type": "Probabilistic", "Label": tissue.bids, "Synthetic": True, "Simulated": True}
            about = fields | {"Notice": NOTICE, "Seed": plan.seed, "Person": number}
            about["SpatialReference"] = grid.REFERENCE
            write_text(path.with_name(path.name.replace(".nii.gz", ".json")), bids.sidecar(about))
        write_nifti(
            folder / f"{stem}_dseg.nii.gz",
            bids.hard_segmentation(brain.maps),
            grid.affine(),
            description="simulated tissue classes",
        )
        if brain.t1 is not None:
            grey = np.clip(brain.t1 * 700.0, 0, 4000).astype(np.uint16)
            path = folder / f"{stem}_desc-brain_T1w.nii.gz"
            write_nifti(path, grey, grid.affine(), description="simulated T1-like image")
            about = {
                "Synthetic": True,
                "Simulated": True,
                "Notice": NOTICE,
                "SpatialReference": grid.REFERENCE,
            }
            write_text(path.with_name(path.name.replace(".nii.gz", ".json")), bids.sidecar(about))
        picture = person_picture(brain.maps, brain.t1)
        write_bytes(staging / "figures" / f"{stem}_tissues.png", picture)
        record = {
            "participant_id": name,
            "fingerprint": plan.fingerprint,
            "volumes_ml": {t: _ml(brain.maps[k]) for k, t in enumerate(TISSUES)},
            "regions_ml": {k: round(v, 3) for k, v in brain.regions_ml.items()},
            "least_jacobian": round(brain.deformation.least_jacobian, 4),
            "solved": {k: round(float(v), 4) for k, v in brain.solved.items()},
        }
        write_text(staging / _record_name(name), json.dumps(record, indent=1))
        if final.exists():  # of a run with other settings
            shutil.rmtree(final)
        staging.replace(final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _ml(tissue_map: NDArray[np.float32]) -> float:
    return round(float(tissue_map.sum(dtype=np.float64) * grid.VOXEL_ML), 3)


def _record_name(name: str) -> str:
    return f"{name}_desc-simulate_record.json"


def _record(dest: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((dest / name / _record_name(name)).read_text("utf-8")))


def _finished(dest: Path, name: str, plan: Plan) -> bool:
    try:
        same = bool(_record(dest, name)["fingerprint"] == plan.fingerprint)
        return same and all(p.is_file() for p in cohort.map_paths(dest, name))
    except (OSError, ValueError, KeyError):
        return False


# ---------------------------------------------------------------- tables


def _write_tables(dest: Path, plan: Plan, *, volumes_only: bool) -> None:
    """Features, volumes and truth, a part of the people in memory at a time."""
    features, volumes, truth = io.StringIO(), io.StringIO(), io.StringIO()
    for first in range(0, plan.n, _CHUNK):
        some = draw(min(_CHUNK, plan.n - first), seed=plan.seed, first=first, stream=plan.stream)
        header = first == 0
        table = pd.DataFrame(index=pd.Index(some.ids, name="participant_id"))
        if not plan.unconditional:
            table = some.table()
        _append(features, table, header)
        records = None if volumes_only else [_record(dest, name) for name in some.ids]
        measured = pd.DataFrame({t: some.volumes[t] for t in TISSUES}, index=table.index)
        if records:
            rows = [r["volumes_ml"] for r in records]
            measured = pd.DataFrame(rows, index=table.index)[list(TISSUES)]
        measured["wm_gm_csf"] = measured[list(TISSUES)].sum(axis=1)
        _append(volumes, measured, header, "%.3f")
        _append(truth, truth_table(some, records), header, "%.7g")
    write_text(dest / "participants.tsv", features.getvalue())
    described = schema().to_participants_json() if not plan.unconditional else {}
    write_text(dest / "participants.json", json.dumps(described, indent=1, ensure_ascii=False))
    write_text(dest / "volumes.tsv", volumes.getvalue())
    about = {t.name: {"Description": f"{t.title} volume (simulated)", "Units": "mL"} for t in ALL}
    write_text(dest / "volumes.json", json.dumps(about, indent=1))
    write_text(dest / "truth.tsv", truth.getvalue())
    write_text(dest / "truth.json", json.dumps(_truth_json(), indent=1, ensure_ascii=False))


def _append(buffer: io.StringIO, table: pd.DataFrame, header: bool, number: str | None = None) -> None:
    table.to_csv(buffer, sep="\t", na_rep="n/a", header=header, float_format=number, lineterminator="\n")


def truth_table(people: People, records: list[dict[str, Any]] | None = None) -> pd.DataFrame:
    """Latent variables, volumes with and without noise, regional volumes, derivatives; people as rows.

    Args:
        people: whom.
        records: what the making of their brains left behind, for regional volumes; else only the ventricles'.
    """
    index = pd.Index(people.ids, name="participant_id")
    parts = [latent_table(people).add_prefix("latent_")]
    parts.append(pd.DataFrame(people.volumes, index=index).add_prefix("true_"))
    parts.append(pd.DataFrame(people.noise_free, index=index).add_prefix("noise_free_"))
    if records is not None:
        parts.append(pd.DataFrame([r["regions_ml"] for r in records], index=index).add_prefix("region_"))
    parts.append(people.derivatives())
    return pd.concat(parts, axis=1)


def _truth_json() -> dict[str, Any]:
    some = draw(1)
    columns: dict[str, Any] = {}
    for name in truth_table(some).columns:
        if name.startswith("d_"):
            text = "true direct effect of this feature, all others held"
            columns[name] = {"Description": text, "Units": "mL per unit, or between the levels"}
        elif name.startswith("latent_"):
            columns[name] = {"Description": "latent variable, mean 0; `head`: own size of the head"}
        else:
            which = "as features, reserve and noise give it" if name.startswith("true") else "without noise"
            columns[name] = {"Description": f"volume {which}", "Units": "mL"}
    for region in ("ventricles", "cortical_gm", "deep_gm", "cerebellum", "brainstem"):
        text = f"{region}, measured in the person's maps within parts carried along by the deformation"
        columns[f"region_{region}"] = {"Description": text, "Units": "mL"}
    causes = {e.feature for e in EFFECTS}
    return {
        "Notice": NOTICE,
        "Version": __version__,
        "Columns": columns,
        "Effects": [asdict(e) | {"term": e.term} for e in EFFECTS],
        "FeaturesWithoutEffect": [f.name for f in people_module.FEATURES if f.name not in causes],
        "References": REFERENCES,
    }


# ---------------------------------------------------------------- what features can explain


def best_r2(n: int = 20_000, *, seed: int = 0) -> dict[str, float]:
    """Share of each volume's variance that features explain at best, nearly: R² on people not fitted.

    Least squares on the logarithm with all levels, logarithms of skewed features, powers of age and the
    products that the model has. No predictor from features can be expected to do better by much.

    Args:
        n: simulated people, half of them to fit.
        seed: of the people.
    """
    people = draw(n, seed=seed)
    design = _design(people)
    half = n // 2
    out = {}
    for name in VOLUMES:
        truth = people.volumes[name]
        weights = np.linalg.lstsq(design[:half], np.log(truth[:half]), rcond=None)[0]
        left = np.log(truth[:half]) - design[:half] @ weights
        told = np.exp(design[half:] @ weights + 0.5 * left.var())
        out[name] = float(1.0 - np.mean((truth[half:] - told) ** 2) / truth[half:].var())
    return out


def _design(people: People) -> NDArray[np.float64]:
    values = people.variables
    columns = people_module.feature_columns(values)
    age = (values["age"] - 53.0) / 20.0
    columns += [age**2, age**3, (values["sleep_hours"] - 7.0) ** 2]
    columns += [age * values[n] for n in dict.fromkeys(e.feature for e in EFFECTS if e.with_age)]
    matrix = np.stack(columns, axis=1)
    matrix = (matrix - matrix.mean(axis=0)) / np.maximum(matrix.std(axis=0), 1e-9)
    return np.concatenate([np.ones((len(matrix), 1)), matrix], axis=1)


def with_options(preset: str | None, **options: Any) -> Plan:
    """A preset with what was asked for in its place; None keeps the preset's."""
    plan = PRESETS[preset] if preset else Plan()
    return replace(plan, **{k: v for k, v in options.items() if v is not None})
