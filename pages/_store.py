"""Things that a session has computed and may ask for again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Kept = TypeVar("Kept")


class Store(Generic[Kept]):
    """What was used last, by everything that it depends on.

    Args:
        most: things that are kept.
        size: of a thing, in any unit.
        largest: size of all together.
    """

    def __init__(self, most: int, size: Callable[[Kept], int] = lambda _: 0, largest: int = 0) -> None:
        self._held: OrderedDict[Any, Kept] = OrderedDict()
        self._most, self._size, self._largest = most, size, largest
        self._lock = threading.Lock()

    def get(self, key: Any) -> Kept | None:
        """What is kept under a key; None where nothing is."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def put(self, key: Any, value: Kept) -> None:
        """Keep something; those that were not used for longest make room."""
        with self._lock:
            self._held[key] = value
            self._held.move_to_end(key)
            while len(self._held) > self._most or sum(map(self._size, self._held.values())) > self._largest:
                self._held.popitem(last=False)
