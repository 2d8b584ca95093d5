"""The surface over codes: exact where decoded, near elsewhere, and thrifty."""

from __future__ import annotations

import numpy as np
import pytest

from csegsynth_core.code_surface import BATCH, CodeSurface


@pytest.fixture
def codes(rng) -> np.ndarray:
    """Two paths of 60 in 64 dimensions: a bent one, and the same with three jumps."""
    t = np.linspace(-1, 1, 60)
    base = np.outer(t, rng.normal(size=64)) + np.outer(t**2, 0.3 * rng.normal(size=64))
    jumps = sum(np.outer(t > at, 0.2 * rng.normal(size=64)) for at in (-0.6, 0.1, 0.55))
    return np.concatenate([base, base + jumps]) / 4


def smooth(codes: np.ndarray) -> np.ndarray:
    """Three smooth functions of a code."""
    weights = np.linspace(-1, 1, 64)
    along = codes @ weights
    return np.stack([along, np.sin(along), 0.1 * (codes**2).sum(axis=1) + along], axis=1)


def test_predictions_are_good_before_it_stops(codes) -> None:
    asked: list[int] = []

    def decode(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows.tolist())
        return smooth(codes[rows])

    got = CodeSurface(codes, [0, 59, 60, 119]).read(decode, start=12, tolerance=1e-3)
    assert len(asked) == len(set(asked)) < 50
    assert asked[:4] == [0, 59, 60, 119]
    assert np.abs(got - smooth(codes)).max() < 1e-3
    assert np.array_equal(got[asked], smooth(codes[asked]))


def test_what_is_not_smooth_is_decoded_everywhere(codes, rng) -> None:
    noise = rng.normal(size=(len(codes), 2))
    assert np.allclose(CodeSurface(codes).read(lambda rows: noise[rows], start=8, tolerance=1e-3), noise)


def test_a_known_base_saves_work(codes) -> None:
    base = smooth(codes)
    asked: list[int] = []

    def decode(rows: np.ndarray) -> np.ndarray:
        asked.extend(rows.tolist())
        return base[rows] * 1.001 + 0.01

    got = CodeSurface(codes).read(decode, start=4, tolerance=1e-2, base=base)
    assert len(asked) == 4 + BATCH
    assert np.abs(got - (base * 1.001 + 0.01)).max() < 1e-3


def test_equal_codes_and_few_of_them_are_no_trouble() -> None:
    same = np.zeros((3, 5))
    got = CodeSurface(same, [1]).read(lambda rows: np.ones((len(rows), 1)), start=12, tolerance=0.1)
    assert np.allclose(got, 1.0)
    assert sorted(CodeSurface(same, [1]).order) == [0, 1, 2]


def test_each_draw_is_decoded_until_its_own_surface_is_good(codes, rng) -> None:
    base, noise = smooth(codes), rng.normal(size=(len(codes), 3))
    true = np.stack([base + 0.01, base + 0.02 * noise, base * 1.001])
    asked: dict[int, list[int]] = {0: [], 1: [], 2: []}

    def decode(rows: np.ndarray, draws: list[int]) -> np.ndarray:
        for draw in draws:
            asked[draw].extend(rows.tolist())
        return true[draws][:, rows]

    surface = CodeSurface(codes, [0, 119])
    got = surface.read_each(decode, 3, start=6, tolerance=1e-2, batch=2, base=base)
    assert asked[0] == asked[2] == surface.order[:8].tolist()
    assert asked[1] == surface.order.tolist()
    assert np.abs(got - true).max(axis=(1, 2)) == pytest.approx([0, 0, 0], abs=1e-3)
    for draw, rows in asked.items():
        assert np.allclose(got[draw, rows], true[draw, rows])


def test_each_measure_has_its_own_tolerance(codes) -> None:
    true = smooth(codes)
    true[:, 2] += 0.05 * np.sin(40 * codes @ np.linspace(-1, 1, 64))  # hard to predict
    decoded = {}
    for name, tolerance in {"strict": 1e-3, "loose": np.asarray([1e-3, 1e-3, 1.0])}.items():
        asked: list[int] = []

        def decode(rows: np.ndarray, asked: list[int] = asked) -> np.ndarray:
            asked.extend(rows.tolist())
            return true[rows]

        got = CodeSurface(codes).read(decode, start=12, tolerance=tolerance)
        assert np.abs(got - true)[:, :2].max() < 1e-3
        decoded[name] = len(asked)
    assert decoded["loose"] < decoded["strict"]
