"""Work on many people in processes of their own; folders that are whole or absent; one run at a time.

Whatever a process writes, it writes under a name that begins with `.part-` and renames when whole.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

from csegsynth_core.errors import CSegSynthError, PipelineError, SourceError

logger = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)
Item = TypeVar("Item")


@contextlib.contextmanager
def alone(dest: Path, command: str) -> Iterator[None]:
    """Hold the destination: two runs at once would take each other's unfinished people for leftovers.

    Raises:
        SourceError: another run is writing there.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with (dest / f".{command}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SourceError(
                f"another run of {command} is writing to {dest}", fix="wait for it to end, or stop it"
            ) from error
        except OSError:  # a file system without locks
            logger.debug("%s cannot be locked", dest)
        try:
            yield
        finally:
            Path(lock.name).unlink(missing_ok=True)


def remove_unfinished(dest: Path) -> None:
    """Remove what interrupted runs left behind."""
    for leftover in dest.glob(".part-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


@dataclass(frozen=True)
class Pool(Generic[Item]):
    """Processes that work off a list of people."""

    work: Callable[[Item], None]
    """Runs in a worker process: picklable, and picklable arguments."""
    name: Callable[[Item], str]
    dest: Path
    workers: int
    title: str
    """Of the progress bar."""
    progress: bool = True

    def run_here(self, todo: Sequence[Item]) -> None:
        """Work on everybody in this process, for light work: starting others would take longer.

        Raises:
            whatever `work` raises.
        """
        for item in tqdm(todo, unit="person", desc=self.title, disable=not self.progress):
            self.work(item)

    def run(self, todo: Sequence[Item]) -> dict[str, str]:
        """Work on everybody; returns the reason by name of those who failed.

        Raises:
            OSError: the disk is full.
        """
        failures: dict[str, str] = {}
        if not todo:
            return failures
        before = set(multiprocessing.active_children())
        bar = tqdm(total=len(todo), unit="person", desc=self.title, disable=not self.progress)

        def note(item: Item, error: Exception | None) -> None:
            name = self.name(item)
            if isinstance(error, OSError) and error.errno in _FULL:
                raise error
            if error is not None:
                if not isinstance(error, CSegSynthError | OSError | MemoryError):
                    logger.debug("%s failed", name, exc_info=error)
                failures[name] = f"{type(error).__name__}: {error}"
                tqdm.write(f"{name} failed: {failures[name]}", file=sys.stderr)
            bar.update()

        try:
            left = list(todo)
            while left:
                suspects = self._run_some(left, self.workers, note)
                # A worker died and took its pool with it. Who was in work is tried once more, alone.
                for item in suspects:
                    if self._run_some([item], 1, note):
                        note(
                            item,
                            PipelineError(
                                "the process that worked on this person was killed",
                                got="no message, as when memory runs out",
                                fix="run again with fewer --workers, or look at the scan's size",
                            ),
                        )
        except BaseException:
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
                process.join(10)
            remove_unfinished(self.dest)
            raise
        finally:
            bar.close()
        remove_unfinished(self.dest)  # of workers that were killed
        return failures

    def _run_some(
        self, left: list[Item], workers: int, note: Callable[[Item, Exception | None], None]
    ) -> list[Item]:
        """Work `left` off from its front; returns the people in work when a worker died, else nothing."""
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
        running: dict[Future[None], Item] = {}
        suspects: list[Item] = []
        try:
            # Only as many tasks in flight as there are workers: an interrupt then loses little.
            while running or (left and not suspects):
                try:
                    while left and not suspects and len(running) < workers:
                        running[pool.submit(self.work, left[0])] = left[0]
                        left.pop(0)
                except BrokenProcessPool:
                    suspects.extend(running.values())
                    break
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    item = running.pop(future)
                    error = future.exception()
                    if isinstance(error, BrokenProcessPool):
                        suspects.append(item)
                    elif error is None or isinstance(error, Exception):
                        note(item, error)
                    else:
                        raise error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()
        return suspects


def _start_worker() -> None:
    """Leave Ctrl-C to the main process, and end when it ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
