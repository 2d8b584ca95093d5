"""Memory that is freed is used again or given back; brains that are kept do not grow with the number of users."""

import subprocess
import sys
import threading
import time

import pytest
import torch

from csegsynth_core import memory, side_by_side
from csegsynth_core.generate import generate_one
from pages import _shelf

CODE = """
import resource, sys
import numpy as np
from csegsynth_core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
before = 0
for turn in range(12):
    if turn == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.ones(6_000_000, np.float32) for _ in range(2)]  # 24 MB each
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_freed_memory_is_used_again() -> None:
    faults = {
        way: int(
            subprocess.run(
                [sys.executable, "-c", CODE, way], capture_output=True, text=True, check=True
            ).stdout
        )
        for way in ("keep", "default")
    }
    assert faults["keep"] < 0.05 * faults["default"]


def test_other_systems_are_left_alone(monkeypatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert not memory.keep_freed_memory()
    assert not memory.give_back()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_what_is_free_is_given_back() -> None:
    code = """
import numpy as np
from csegsynth_core.memory import give_back, keep_freed_memory
keep_freed_memory()  # so that nothing is given back by itself
rss = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
blocks = [np.ones(6_000_000, np.float32) for _ in range(8)]
del blocks
before = rss()
assert give_back()
print(before - rss())
"""
    freed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(freed) > 100e6


@pytest.mark.parametrize("gradients", [True, False])
def test_threads_record_gradients_where_their_caller_does(gradients) -> None:
    weight, threads = torch.ones(3, requires_grad=True), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.set_grad_enabled(gradients):
            found = list(side_by_side.side_by_side(lambda n: (n * weight).sum(), range(4)))
    finally:
        torch.set_num_threads(threads)
    assert [one.item() for one in found] == [0, 3, 6, 9]
    assert all(one.requires_grad == gradients for one in found)


def test_turns_are_so_many_at_a_time_and_give_back_where_somebody_waits(monkeypatch) -> None:
    given, inside, most = [], [], []
    monkeypatch.setattr(side_by_side, "give_back", lambda: given.append(1))
    turns = side_by_side.Turns(2)
    with turns, turns:
        pass
    assert not given, "nobody waited"
    go_on = threading.Event()

    def work() -> None:
        with turns:
            inside.append(1)
            most.append(len(inside))
            go_on.wait(10)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 10
    while turns.waiting < 3 and time.monotonic() < end:
        time.sleep(0.001)
    assert turns.waiting == 3 and len(inside) == 2
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(most) == 5 and max(most) == 2 and turns.waiting == 0
    assert 1 <= len(given) <= 4, "not when the last was done"
    with pytest.raises(ValueError, match="within"), turns:
        raise ValueError("within")
    with turns, turns:
        pass


def test_a_kept_brain_holds_its_tissues_alone(pack) -> None:
    """Not a view, which would keep what else was made with it."""
    brain = generate_one(pack, pack.encoder.default_person(sex="F"))
    assert isinstance(brain.maps.base, torch.Tensor)
    assert brain.maps.base.untyped_storage().nbytes() == brain.maps.nbytes


def test_brains_are_kept_by_session_and_not_more_with_more_sessions(monkeypatch) -> None:
    monkeypatch.setattr(_shelf, "_shelves", type(_shelf._shelves)())
    one, made = _shelf.Shelf(), []

    def brain(key):
        made.append(key)
        return f"brain {key}"

    for key in range(_shelf.OWN + 1):
        assert one.take(key, lambda key=key: brain(key)) == f"brain {key}"
    assert len(one) == _shelf.OWN
    one.take(1, lambda: brain(1))
    assert made == list(range(_shelf.OWN + 1)), "it is still there"
    one.take(0, lambda: brain(0))
    assert made[-1] == 0, "the oldest made room"
    others = [_shelf.Shelf() for _ in range(4)]
    for other in others:
        for key in range(3):
            other.take(key, lambda: brain("mine"))
    assert sum(map(len, (one, *others))) == _shelf.ALL
    assert [len(o) for o in others] == [3, 3, 3, 3] and len(one) == _shelf.ALL - 12
    made.clear()
    one.take(0, lambda: brain("again"))
    assert not made, "what was used last is kept"
    assert others[0].take(0, lambda: brain("x")) == "brain mine", "nobody gets another's"
