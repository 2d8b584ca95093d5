"""Memory that is freed is used again."""

import subprocess
import sys

import pytest

from csegsynth_core import memory

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
