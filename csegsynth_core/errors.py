"""Errors that say what was expected, what came, and how to mend it."""

from __future__ import annotations


class CSegSynthError(Exception):
    """Base of every error that a user can cause and mend."""

    def __init__(self, problem: str, *, expected: str = "", got: str = "", fix: str = "") -> None:
        self.problem, self.expected, self.got, self.fix = problem, expected, got, fix
        parts = [problem.rstrip(".") + "."]
        if expected:
            parts.append(f"Expected: {expected.rstrip('.')}.")
        if got:
            parts.append(f"Got: {got.rstrip('.')}.")
        if fix:
            parts.append(f"Fix: {fix.rstrip('.')}.")
        super().__init__(" ".join(parts))


class ImageError(CSegSynthError):
    """An image cannot be used: truncated, wrong shape, empty, not an image, …"""


class TableError(CSegSynthError):
    """A feature table cannot be used; the message names file, row and column."""


class SourceError(CSegSynthError):
    """A folder given as SOURCE holds nothing that can be prepared."""


class PackError(CSegSynthError):
    """A model pack is missing, damaged or of another version."""


class ScenarioError(CSegSynthError):
    """A saved scenario or a link cannot be used: other format, version, model pack, feature or level."""


class PipelineError(CSegSynthError):
    """A processing step ran but its outcome is not plausible."""
