"""`prepare`: a folder of scans becomes a prepared cohort, a BIDS derivative with a packed array beside it.

    sources.find → per person (in parallel): segment → align → maps, labels, picture, record → one rename
                 → tables (participants, volumes, quality) → packed array

A person's folder is built under a name that begins with a dot and renamed when whole, so that whatever has
its final name is finished. Running the command again takes up where it stopped.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from csegsynth_core import __version__, grid
from csegsynth_core.data import bids, cohort
from csegsynth_core.data.nifti import Volume, read_volume, write_bytes, write_nifti, write_text
from csegsynth_core.data.sources import Kind, Person, Source, find
from csegsynth_core.errors import CSegSynthError, ImageError, PipelineError
from csegsynth_core.tissue import ALL, TISSUES

logger = logging.getLogger(__name__)

RECORD_VERSION = 1
"""Raise when a change makes people prepared before it unusable beside new ones."""


@dataclass(frozen=True)
class Settings:
    """What a worker needs to know beside the person."""

    dest: str
    backend: str
    tissue_of: dict[int, str]
    label_names: dict[int, str]
    label_desc: str
    threads: int

    def fingerprint(self, person: Person) -> str:
        """Changes when the person's result would: input files, their sizes and dates, method, version."""
        stats = [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(person.files.values())]
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
        SourceError: nothing to prepare.
        OSError: the disk is full or not writable. What was finished stays; run again to go on.
    """
    found = find(source, kind=kind)
    people = sorted(found.people, key=lambda p: p.participant_id)[:limit]
    table, schema = cohort.read_features(found.folder, [p.participant_id for p in people])
    dest = Path(dest)
    dest.mkdir(parents=True, exist_ok=True)
    for leftover in dest.glob(".part-*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    cores = os.cpu_count() or 1
    workers = max(1, min(workers or cores, len(people)))
    settings = Settings(
        dest=str(dest),
        backend=backend,
        tissue_of=found.tissue_of,
        label_names=found.label_names,
        label_desc=_label_desc(found),
        threads=max(1, cores // workers),
    )
    todo = [p for p in people if not _finished(p, settings)]
    failures = _run(todo, settings, workers, progress)
    done = [p for p in people if p.participant_id not in failures]
    records = [_read_record(dest / p.participant_id) for p in done]
    if records:
        _write_cohort(found, dest, records, table, schema, failures)
    return Outcome(len(todo) - len(failures), len(people) - len(todo), failures)


def _run(todo: list[Person], settings: Settings, workers: int, progress: bool) -> dict[str, str]:
    failures: dict[str, str] = {}
    if not todo:
        return failures
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context)
    bar = tqdm(total=len(todo), unit="person", desc="prepare", disable=not progress)
    try:
        waiting = iter(todo)
        running: dict[Future[None], Person] = {}
        while True:
            # Only as many tasks in flight as there are workers: an interrupt then loses little.
            while len(running) < workers and (person := next(waiting, None)) is not None:
                running[pool.submit(_prepare_person, person, settings)] = person
            if not running:
                break
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                person = running.pop(future)
                try:
                    future.result()
                except OSError as error:
                    if error.errno == errno.ENOSPC:
                        raise
                    failures[person.participant_id] = f"{type(error).__name__}: {error}"
                except (CSegSynthError, ValueError, RuntimeError, MemoryError, ArithmeticError) as error:
                    failures[person.participant_id] = f"{type(error).__name__}: {error}"
                if person.participant_id in failures:
                    tqdm.write(f"{person.participant_id} failed: {failures[person.participant_id]}")
                bar.update()
        pool.shutdown()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        bar.close()
    return failures


def _prepare_person(person: Person, settings: Settings) -> None:
    """Everything for one person, in a worker process."""
    dest = Path(settings.dest)
    staging = dest / f".part-{person.participant_id}"
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
            "volumes_ml": {t: float(maps[k].sum(dtype=np.float64) * grid.VOXEL_ML) for k, t in enumerate(TISSUES)},
            "partial_volume_fraction": _partial_fraction(maps),
        }
        _write_person(staging / "anat", person, settings, maps, t1, labels)
        record["seconds"] = round(time.perf_counter() - started, 1)
        write_text(staging / _record_name(person.participant_id), json.dumps(record, indent=1))
        shutil.rmtree(final, ignore_errors=True)
        staging.replace(final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _compute(
    person: Person, settings: Settings
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32] | None, dict[str, Any]]:
    """Maps (3, …), brain T1 and labels on our grid, and what is worth remembering."""
    from csegsynth_core.data import align, label_prior

    if person.kind == "labels":
        t1 = read_volume(person.files["t1"], what="T1")
        labels = read_volume(person.files["labels"], what="label image")
        fine = label_prior.segment_with_labels(t1, labels, settings.tissue_of, threads=settings.threads)
        aligned = fine.labels[:: fine.factor, :: fine.factor, :: fine.factor]
        aligned, swapped = bids.mend_left_right(aligned, settings.label_names)
        hard_ml = {
            t: float(sum((labels.data == v).sum() for v, n in settings.tissue_of.items() if n == t) * labels.voxel_ml)
            for t in TISSUES
        }
        record = _alignment(fine.rigid) | {"label_volumes_ml": hard_ml, "method": "T1 with labels"}
        if swapped:
            record["note"] = "left and right labels were swapped: mended"
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
    total = np.sum([v.data for v in maps.values()], axis=0)
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
    margin = max(float(maps[:, face].sum()) for face in (0, -1)) + max(
        float(maps[:, :, :, face].sum()) for face in (0, -1)
    )
    if margin > 200:
        raise PipelineError("the brain runs out of the grid", fix="check the voxel size in the scan's header")


def _partial_fraction(maps: NDArray[np.float32]) -> float:
    brain = maps.sum(axis=0) > 0.5
    partial = ((maps > 0.05) & (maps < 0.95)).any(axis=0)
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
    sources = [str(p) for p in person.files.values()]
    for k, tissue in enumerate(ALL):
        path = folder / f"{stem}_label-{tissue.bids}_probseg.nii.gz"
        write_nifti(path, maps[k], affine, description=f"{tissue.bids} partial volume")
        write_text(
            path.with_name(path.name.replace(".nii.gz", ".json")),
            bids.sidecar({"Type": "Probabilistic", "Label": tissue.bids, "Sources": sources, "Synthetic": False}),
        )
    write_nifti(folder / f"{stem}_dseg.nii.gz", bids.hard_segmentation(maps), affine, description="tissue classes")
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
        return bool(_read_record(folder)["fingerprint"] == settings.fingerprint(person))
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
    schema: Any,
    failures: dict[str, str],
) -> None:
    ids = [r["participant_id"] for r in records]
    write_text(dest / "dataset_description.json", bids.dataset_description(f"prepared from {found.folder.name}"))
    write_text(dest / "dseg.tsv", bids.dseg_table())
    if found.label_names:
        rows = [f"{i}\t{found.label_names[i]}\t{found.tissue_of[i]}" for i in sorted(found.tissue_of)]
        name = f"desc-{_label_desc(found) or 'labels'}_dseg.tsv"
        write_text(dest / name, "\n".join(["index\tname\ttissue", *rows]) + "\n")
    cohort.write_features(dest, ids, table, schema)
    volumes = pd.DataFrame([{"participant_id": r["participant_id"], **r["volumes_ml"]} for r in records])
    volumes["wm_gm_csf"] = volumes[list(TISSUES)].sum(axis=1)
    write_text(dest / "volumes.tsv", volumes.to_csv(sep="\t", index=False, float_format="%.3f"))
    write_text(
        dest / "volumes.json",
        json.dumps({t.name: {"Description": f"{t.title} volume", "Units": "mL"} for t in ALL}, indent=1),
    )
    write_text(dest / "quality.tsv", quality_table(records).to_csv(sep="\t", index=False, na_rep="n/a"))
    failed = pd.DataFrame({"participant_id": list(failures), "reason": list(failures.values())})
    write_text(dest / "failures.tsv", failed.to_csv(sep="\t", index=False))
    cohort.write_packed(dest, ids)
    settings = {"software": f"csegsynth {__version__}", "source_kind": found.kind, "skipped": found.skipped}
    write_text(dest / "prepare.json", json.dumps(settings, indent=1))


def quality_table(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row a person: brain volume, tissue fractions, alignment, outliers (robust z above 3.5).

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
    reasons = pd.Series([""] * len(table))
    watched = ["wm_gm_csf_ml", *(f"{t}_fraction" for t in TISSUES), "partial_volume_fraction", "alignment_score"]
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
            reasons.iloc[row] += ("; " if reasons.iloc[row] else "") + f"{column} z={z[row]:+.1f}"
    table["outlier"] = np.where(reasons == "", "no", "yes")
    table["outlier_reason"] = reasons.where(reasons != "", "n/a")
    return table


def run_asdict(outcome: Outcome) -> dict[str, Any]:
    """The outcome as plain data, for `--json`."""
    return asdict(outcome)
