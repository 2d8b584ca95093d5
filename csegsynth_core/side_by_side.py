"""Work on brains, several at a time with a core each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from threading import BoundedSemaphore, Lock
from typing import Final, TypeVar

import torch

from csegsynth_core.memory import give_back

Item = TypeVar("Item")
Result = TypeVar("Result")


class Turns:
    """A semaphore that gives memory back where somebody waits.

    What a thread frees it keeps for itself, about a hundred MB of a brain's; whoever is next needs as much again.

    Args:
        count: how many have their turn at a time.
    """

    def __init__(self, count: int) -> None:
        self._free = BoundedSemaphore(count)
        self._lock = Lock()
        self.waiting = 0

    def __enter__(self) -> None:
        if self._free.acquire(blocking=False):
            return
        with self._lock:
            self.waiting += 1
        try:
            self._free.acquire()
        finally:
            with self._lock:
                self.waiting -= 1

    def __exit__(self, *_: object) -> None:
        if self.waiting:
            give_back()
        self._free.release()


TURN: Final = Turns(cpu_count() or 1)
"""Held while brains are made for a long computation, `with TURN: …`: however many users wait for theirs, no more are
made at a time than there are cores. More would take memory and no less time."""


def side_by_side(compute: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Results of items in their order, as many at a time as torch has threads, with one thread each.

    Small layers leave most cores idle: a brain by each core is quicker than one brain after the other by all. Whoever
    stops asking stops the items that have not begun. Gradients are recorded where the caller records them.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(items))
    if workers < 2:
        yield from map(compute, items)
        return
    pool = ThreadPoolExecutor(
        workers, initializer=_like, initargs=(threads // workers, torch.is_grad_enabled())
    )
    try:
        yield from pool.map(compute, items)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _like(threads: int, gradients: bool) -> None:
    """Make a new thread work like its maker: both settings are a thread's own."""
    torch.set_num_threads(threads)
    torch.set_grad_enabled(gradients)
