"""`prepare`: a folder of scans becomes a prepared cohort, a BIDS derivative with a packed array beside it.

    sources.find → per person (in parallel): segment → align → maps, labels, picture, record → one rename
                 → tables (participants, volumes, quality) → packed array

A person's folder is built under a name that begins with a dot and renamed when whole, so that whatever has
its final name is finished. Running the command again takes up where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from csegsynth_core import __version__, grid
from csegsynth_core.data import bids, cohort
from csegsynth_core.data.nifti import Volume, read_volume, write_bytes, write_nifti, write_text
from csegsynth_core.data.parallel import Pool, remove_unfinished
from csegsynth_core.data.parallel import alone as _alone
from csegsynth_core.data.sources import Kind, Person, Source, find
from csegsynth_core.errors import ImageError, PipelineError, SourceError
from csegsynth_core.tissue import ALL, TISSUES

logger = logging.getLogger(__name__)

RECORD_VERSION = 1
"""Raise when a change makes people prepared before it unusable beside new ones."""
LOW_ALIGNMENT = 0.5
"""Alignment score below which a person is an outlier in any cohort (IXI, 150 people: 0.60 to 0.72)."""
_UNLISTED = 0.02
"""Largest share of labelled voxels whose label the table may not know."""


@dataclass(frozen=True)
class Settings:
    """What a worker needs to know beside the person."""

    source: str
    dest: str
    backend: str
    tissue_of: dict[int, str]
    label_names: dict[int, str]
    label_desc: str
    threads: int

    def fingerprint(self, person: Person) -> str:
        """Changes when the person's result would: input files, their sizes and dates, method, version."""
        files = sorted(p.absolute() for p in person.files.values())
        stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
        parts = [RECORD_VERSION, person.kind, self.backend, sorted(self.tissue_of.items()), stats]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    prepared: int
    reused: int
    failures: dict[str, str]
    """Reason by participant."""


def prepare(
    source: Path,
    dest: Path,
    *,
    kind: Kind | None = None,
    backend: str = "auto",
    workers: int | None = None,
    limit: int | None = None,
    progress: bool = True,
) -> Outcome:
    """Prepare every person found in `source` and write the cohort to `dest`.

    Args:
        source: folder of scans, searched in depth.
        dest: folder of the derivative; may hold an earlier, unfinished run.
        kind: take the source to be of this kind instead of finding out.
        backend: for raw T1s, `auto`, `builtin` or `fsl`.
        workers: processes; default one per core.
        limit: only the first so many people.

    Raises:
        SourceError: nothing to prepare, or `dest` holds something else that must not be overwritten.
        TableError: the participants table or the label table cannot be used.
        OSError: the disk is full or not writable. What was finished stays; run again to go on.
    """
    source, dest = Path(source), Path(dest)
    _check_dest(source, dest)
    found = find(source, kind=kind, apart_from=dest)
    everyone = sorted(found.people, key=lambda p: p.participant_id)
    table, meta, unmatched = cohort.read_features(found.folder, [p.participant_id for p in everyone])
    for problem, ids in unmatched.items():
        if ids:
            shown = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
            logger.warning("%d %s: %s", len(ids), problem.replace("_", " "), shown)
    people = everyone[:limit]
    dest.mkdir(parents=True, exist_ok=True)
    with _alone(dest, "prepare"):
        remove_unfinished(dest)
        return _prepare_all(found, people, dest, backend, workers, progress, (table, meta, unmatched))


def _prepare_all(
    found: Source,
    people: list[Person],
    dest: Path,
    backend: str,
    workers: int | None,
    progress: bool,
    features: tuple[pd.DataFrame | None, dict[str, Any], dict[str, list[str]]],
) -> Outcome:
    cores = os.cpu_count() or 1
    workers = max(1, min(workers or cores, len(people)))
    settings = Settings(
        source=str(found.folder),
        dest=str(dest),
        backend=backend,
        tissue_of=found.tissue_of,
        label_names=found.label_names,
        label_desc=_label_desc(found),
        threads=max(1, cores // workers),
    )
    todo = [p for p in people if not _finished(p, settings)]
    write_text(
        dest / "dataset_description.json", bids.dataset_description(f"prepared from {found.folder.name}")
    )
    failures = _run(todo, settings, workers, progress)
    reasons = pd.DataFrame(
        {"participant_id": list(failures), "reason": [" ".join(r.split()) for r in failures.values()]}
    ).sort_values("participant_id")
    write_text(dest / "failures.tsv", reasons.to_csv(sep="\t", index=False))
    done = [p for p in people if p.participant_id not in failures]
    records = [_read_record(dest / p.participant_id) for p in done]
    if records:
        _write_cohort(found, dest, records, *features)
    else:
        (dest / "packed.json").unlink(missing_ok=True)  # an earlier run's array is not this run's outcome
    return Outcome(len(todo) - len(failures), len(people) - len(todo), failures)


def _check_dest(source: Path, dest: Path) -> None:
    """Refuse a destination in which something that is not ours would be overwritten.

    Raises:
        SourceError: `dest` is the source, a file, or holds another dataset.
    """
    if source.resolve() == dest.resolve():
        raise SourceError(
            f"DEST {dest} is SOURCE, whose files would be overwritten",
            expected="a folder of its own for the results",
            fix=f"write to another folder, for example {source / 'derivatives' / 'csegsynth'}",
        )
    if not dest.exists():
        return
    if not dest.is_dir():
        raise SourceError(f"DEST {dest} is a file", expected="a new folder, or one of an earlier run")
    foreign = [p.name for p in sorted(dest.glob("sub-*")) if not (p / _record_name(p.name)).is_file()]
    try:
        makers = json.loads((dest / "dataset_description.json").read_text("utf-8"))["GeneratedBy"]
        ours = any(maker["Name"] == "CSegSynth" for maker in makers)
    except FileNotFoundError:
        ours = True
    except (OSError, ValueError, KeyError, TypeError):
        ours = False
    if foreign or not ours:
        raise SourceError(
            f"DEST {dest} holds another dataset",
            expected="a new folder, an empty one, or one of an earlier run of prepare",
            got=", ".join(foreign[:3]) if foreign else "a dataset_description.json of other software",
            fix="write to another folder",
        )


def _run(todo: list[Person], settings: Settings, workers: int, progress: bool) -> dict[str, str]:
    """Prepare people in worker processes; returns the reason by participant that failed."""
    work = partial(_prepare_person, settings=settings)
    pool = Pool(work, lambda p: p.participant_id, Path(settings.dest), workers, "prepare", progress)
    return pool.run(todo)


def _prepare_person(person: Person, settings: Settings) -> None:
    """Everything for one person, in a worker process."""
    dest = Path(settings.dest)
    staging = dest / f".part-{person.participant_id}"
    outdated = dest / f".part-old-{person.participant_id}"
    final = dest / person.participant_id
    shutil.rmtree(staging, ignore_errors=True)
    started = time.perf_counter()
    try:
        maps, t1, labels, record = _compute(person, settings)
        _check(maps)
        record |= {
            "participant_id": person.participant_id,
            "fingerprint": settings.fingerprint(person),
            "record_version": RECORD_VERSION,
            "source_kind": person.kind,
            "note": "; ".join(n for n in (person.note, record.pop("note", "")) if n),
            "volumes_ml": {
                t: float(maps[k].sum(dtype=np.float64) * grid.VOXEL_ML) for k, t in enumerate(TISSUES)
            },
            "partial_volume_fraction": _partial_fraction(maps),
        }
        _write_person(staging / "anat", person, settings, maps, t1, labels)
        record["seconds"] = round(time.perf_counter() - started, 1)
        write_text(staging / _record_name(person.participant_id), json.dumps(record, indent=1))
        if final.exists():  # an earlier result: out of the way in one step, too
            final.replace(outdated)
        staging.replace(final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        shutil.rmtree(outdated, ignore_errors=True)


def _compute(
    person: Person, settings: Settings
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32] | None, dict[str, Any]]:
    """Maps (3, …), brain T1 and labels on our grid, and what is worth remembering."""
    from csegsynth_core.data import align, label_prior

    if person.kind == "labels":
        t1 = read_volume(person.files["t1"], what="T1")
        labels = read_volume(person.files["labels"], what="label image")
        _check_listed(labels, settings.label_names, person.files["labels"])
        fine = label_prior.segment_with_labels(t1, labels, settings.tissue_of, threads=settings.threads)
        aligned, mended = bids.mend_left_right(fine.labels, settings.label_names)
        counts = np.bincount(np.rint(labels.data).astype(np.int32).ravel())
        hard_ml = {
            t: float(sum(counts[v] for v, n in settings.tissue_of.items() if n == t and v < len(counts)))
            * labels.voxel_ml
            for t in TISSUES
        }
        record = _alignment(fine.rigid) | {"label_volumes_ml": hard_ml, "method": "T1 with labels"}
        if mended:
            record["note"] = f"{mended:.0%} of left and right labels lay on the wrong side: mended"
        maps = align.block_average(fine.maps, fine.factor)
        return maps, align.block_average(fine.t1, fine.factor), aligned, record
    if person.kind == "t1":
        from csegsynth_core.data.segment_t1 import segment_t1

        raw = read_volume(person.files["t1"], what="T1")
        segmented = segment_t1(raw.data, raw.affine, backend=settings.backend, threads=settings.threads)  # type: ignore[arg-type]
        native = {name: Volume(data, segmented.affine) for name, data in segmented.maps.items()}
        brain = Volume(segmented.brain, segmented.affine)
        extra: dict[str, Any] = {"method": f"T1, {segmented.backend}", "segmentation": segmented.notes}
    else:
        native = _read_maps(person)
        brain = Volume(
            sum(native[t].data * w for t, w in (("wm", 1.0), ("gm", 0.7), ("csf", 0.25))).astype(np.float32),  # type: ignore[union-attr]
            native["wm"].affine,
        )
        extra = {"method": "existing maps"}
    rigid = align.align(brain, threads=settings.threads)
    factor = 2 if float(brain.spacing_mm.min()) < 1.5 else 1
    fine_maps = np.stack([align.resample(native[t], rigid, factor=factor) for t in TISSUES])
    maps = np.clip(align.block_average(fine_maps, factor), 0.0, 1.0)
    maps /= np.maximum(maps.sum(axis=0), 1.0)
    aligned_t1 = align.block_average(align.resample(brain, rigid, factor=factor), factor)
    native_ml = {t: float(native[t].data.sum(dtype=np.float64) * native[t].voxel_ml) for t in TISSUES}
    return maps, aligned_t1, None, _alignment(rigid) | extra | {"native_volumes_ml": native_ml}


def _check_listed(labels: Volume, names: dict[int, str], path: Path) -> None:
    """Raise ImageError if much of a label image is not in the label table: it then belongs to another."""
    values, counts = np.unique(labels.data[labels.data != 0], return_counts=True)
    unknown = ~np.isin(values, list(names))
    share = float(counts[unknown].sum()) / max(float(counts.sum()), 1.0)
    if share > _UNLISTED:
        raise ImageError(
            f"{path} holds labels that dseg.tsv does not list",
            expected="labels of the table only",
            got=f"{share:.0%} of the labelled voxels, such as {', '.join(f'{v:g}' for v in values[unknown][:4])}",
            fix="give the table that belongs to these labels, with `tissue` n/a for what is not brain",
        )


def _alignment(rigid: Any) -> dict[str, Any]:
    return {
        "alignment_score": round(rigid.score, 4),
        "rotation_deg": round(rigid.rotation_deg, 2),
        "shift_mm": round(rigid.shift_mm, 2),
        "grid_to_scanner": rigid.matrix.tolist(),
    }


def _read_maps(person: Person) -> dict[str, Volume]:
    maps = {t: read_volume(person.files[t], what=f"{t.upper()} map") for t in TISSUES}
    first = maps[TISSUES[0]]
    for name, volume in maps.items():
        path = person.files[name]
        if volume.data.shape != first.data.shape or not np.allclose(volume.affine, first.affine, atol=1e-2):
            raise ImageError(
                f"{path} lies on another grid than the person's other maps",
                expected=f"shape {first.data.shape} and the same affine",
                got=f"shape {volume.data.shape}",
                fix="export the three maps from one segmentation",
            )
        if volume.data.min() < -0.01 or volume.data.max() > 1.01:
            raise ImageError(
                f"{path} is not a tissue probability or partial-volume map",
                expected="values between 0 and 1",
                got=f"{volume.data.min():.3g} to {volume.data.max():.3g}",
                fix="divide by the scale factor (255 or 100); modulated maps cannot be used",
            )
    total = sum(v.data for v in maps.values()) + np.zeros(1, np.float32)
    if total.max() > 1.05:
        raise ImageError(
            f"the maps of {person.participant_id} add up to more than one",
            expected="WM + GM + CSF ≤ 1 in every voxel",
            got=f"up to {total.max():.2f}",
        )
    return maps


def _check(maps: NDArray[np.float32]) -> None:
    volumes = {t: float(maps[k].sum() * grid.VOXEL_ML) for k, t in enumerate(TISSUES)}
    if not np.all(np.isfinite(maps)) or maps.min() < 0 or maps.sum(axis=0).max() > 1.001:
        raise PipelineError("the tissue maps are not fractions that sum to at most one")
    if not 400 < sum(volumes.values()) < 2500 or min(volumes["wm"], volumes["gm"]) < 80:
        raise PipelineError(
            "the tissue volumes are not those of an adult brain",
            expected="WM + GM + CSF of 400–2500 mL with at least 80 mL of WM and of GM",
            got=", ".join(f"{t.upper()} {v:.0f} mL" for t, v in volumes.items()),
            fix="look at the scan: is it a whole, upright head in millimetres?",
        )
    kept = float(maps[(slice(None), *grid.BOX)].sum() * grid.VOXEL_ML) / sum(volumes.values())
    if kept < 0.995:
        raise PipelineError(
            "the brain runs out of the box of the packed array",
            expected="at least 99.5 % of WM+GM+CSF in the middle 160×208×160 mm of the grid",
            got=f"{kept:.1%}",
            fix="look at the scan: does its mask hold neck or skull, and are voxel sizes in mm?",
        )


def _partial_fraction(maps: NDArray[np.float32]) -> float:
    brain = maps.sum(axis=0) > 0.5
    partial = np.any((maps > 0.05) & (maps < 0.95), axis=0)
    return round(float(partial[brain].mean()), 4)


def _write_person(
    folder: Path,
    person: Person,
    settings: Settings,
    maps: NDArray[np.float32],
    t1: NDArray[np.float32],
    labels: NDArray[np.int32] | None,
) -> None:
    from csegsynth_core.data.pictures import person_picture

    affine = grid.affine()
    stem = f"{person.participant_id}_space-{grid.SPACE}"
    sources = [p.relative_to(settings.source).as_posix() for p in person.files.values()]
    for k, tissue in enumerate(ALL):
        path = folder / f"{stem}_label-{tissue.bids}_probseg.nii.gz"
        write_nifti(path, maps[k], affine, description=f"{tissue.bids} partial volume")
        write_text(
            path.with_name(path.name.replace(".nii.gz", ".json")),
            bids.sidecar(
                {"Type": "Probabilistic", "Label": tissue.bids, "Sources": sources, "Synthetic": False}
                | {"SpatialReference": grid.REFERENCE}
            ),
        )
    write_nifti(
        folder / f"{stem}_dseg.nii.gz", bids.hard_segmentation(maps), affine, description="tissue classes"
    )
    scaled = t1 / max(float(np.percentile(t1[t1 > 0], 99.9)), 1e-6) * 1000.0 if np.any(t1 > 0) else t1
    write_nifti(folder / f"{stem}_desc-brain_T1w.nii.gz", np.clip(scaled, 0, 4000).astype(np.uint16), affine)
    if labels is not None:
        name = f"{stem}_desc-{settings.label_desc or 'labels'}_dseg.nii.gz"
        write_nifti(folder / name, labels.astype(np.uint16), affine, description="anatomical labels")
    write_bytes(folder.parent / "figures" / f"{stem}_tissues.png", person_picture(maps, t1))


def _record_name(participant_id: str) -> str:
    return f"{participant_id}_desc-prepare_record.json"


def _read_record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / _record_name(folder.name)).read_text("utf-8")))


def _finished(person: Person, settings: Settings) -> bool:
    folder = Path(settings.dest) / person.participant_id
    try:
        same = bool(_read_record(folder)["fingerprint"] == settings.fingerprint(person))
        return same and all(p.is_file() for p in cohort.map_paths(folder.parent, person.participant_id))
    except (OSError, ValueError, KeyError):
        return False


def _label_desc(found: Source) -> str:
    for person in found.people:
        if "labels" in person.files:
            return bids.entity(person.files["labels"].name, "desc")
    return ""


def _write_cohort(
    found: Source,
    dest: Path,
    records: list[dict[str, Any]],
    table: pd.DataFrame | None,
    meta: dict[str, Any],
    unmatched: dict[str, list[str]],
) -> None:
    ids = [r["participant_id"] for r in records]
    (dest / "packed.json").unlink(missing_ok=True)  # unfinished until the array below is whole
    write_text(dest / "dseg.tsv", bids.dseg_table())
    if found.label_names:
        rows = [f"{i}\t{found.label_names[i]}\t{found.tissue_of[i]}" for i in sorted(found.tissue_of)]
        name = f"desc-{_label_desc(found) or 'labels'}_dseg.tsv"
        write_text(dest / name, "\n".join(["index\tname\ttissue", *rows]) + "\n")
    cohort.write_features(dest, ids, table, meta)
    volumes = pd.DataFrame([{"participant_id": r["participant_id"], **r["volumes_ml"]} for r in records])
    volumes["wm_gm_csf"] = volumes[list(TISSUES)].sum(axis=1)
    write_text(dest / "volumes.tsv", volumes.to_csv(sep="\t", index=False, float_format="%.3f"))
    write_text(
        dest / "volumes.json",
        json.dumps({t.name: {"Description": f"{t.title} volume", "Units": "mL"} for t in ALL}, indent=1),
    )
    write_text(dest / "quality.tsv", quality_table(records).to_csv(sep="\t", index=False, na_rep="n/a"))
    settings = {"software": f"csegsynth {__version__}", "source_kind": found.kind, "skipped": found.skipped}
    write_text(dest / "prepare.json", json.dumps(settings | unmatched, indent=1))
    cohort.write_packed(dest, ids)


def quality_table(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a person: brain volume, tissue fractions, alignment, outliers.

    An outlier is further than 3.5 robust standard deviations from the median (of ten people or more), or has
    an alignment score below `LOW_ALIGNMENT`.

    Args:
        records: what `prepare` remembers of each person.
    """
    rows = []
    for r in records:
        volumes = r["volumes_ml"]
        total = sum(volumes.values())
        rows.append(
            {
                "participant_id": r["participant_id"],
                "wm_gm_csf_ml": round(total, 1),
                **{f"{t}_fraction": round(volumes[t] / total, 4) for t in TISSUES},
                "partial_volume_fraction": r["partial_volume_fraction"],
                "alignment_score": r["alignment_score"],
                "rotation_deg": r["rotation_deg"],
                "note": r["note"] or "n/a",
            }
        )
    table = pd.DataFrame(rows)
    reasons: list[list[str]] = [[] for _ in rows]
    watched = [
        "wm_gm_csf_ml",
        *(f"{t}_fraction" for t in TISSUES),
        "partial_volume_fraction",
        "alignment_score",
    ]
    for column in watched:
        values = table[column].to_numpy(float)
        deviation = values - np.median(values)
        scale = 1.4826 * np.median(np.abs(deviation))
        if len(values) < 10 or scale <= 0:
            continue
        z = deviation / scale
        if column == "alignment_score":
            z = np.minimum(z, 0.0)  # only a low score is bad
        for row in np.flatnonzero(np.abs(z) > 3.5):
            reasons[row].append(f"{column} z={z[row]:+.1f}")
    for row in np.flatnonzero(table["alignment_score"].to_numpy(float) < LOW_ALIGNMENT):
        reasons[row].append(f"alignment_score below {LOW_ALIGNMENT}")
    table["outlier"] = ["yes" if r else "no" for r in reasons]
    table["outlier_reason"] = ["; ".join(r) or "n/a" for r in reasons]
    return table


def run_asdict(outcome: Outcome) -> dict[str, Any]:
    """The outcome as plain data, for `--json`."""
    return asdict(outcome)
