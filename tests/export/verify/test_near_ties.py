"""Rows whose first two scores nearly tie: noise is excused, what is wrong with a class isn't."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_export.verification import Limits, OutputCheck
from graphquant_export.verification.output_checks import OutputComparing

ROWS = 96
LIMITS = Limits()
Broken = Callable[[np.ndarray], np.ndarray]


def logits(classes: int, seed: int = 0) -> np.ndarray:
    """Untrained: two classes are close to one another at the top of every row."""
    random = np.random.default_rng(seed)
    values = random.normal(0, 0.6, (ROWS, classes))
    best = np.array([random.choice(min(classes, 6), 2, replace=False) for _ in range(ROWS)])
    top = values.max(-1) + 0.1
    values[np.arange(ROWS), best[:, 0]] = top
    values[np.arange(ROWS), best[:, 1]] = top - random.uniform(0, 0.08, ROWS)
    return values


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def checked(
    got: np.ndarray, wanted: np.ndarray, step: float | None = None, limits: Limits = LIMITS
) -> OutputCheck:
    """What `verify` finds, in batches."""
    comparing = OutputComparing("y", step, None, limits)
    for rows in range(0, len(got), 10):
        part = slice(rows, rows + 10)
        comparing.add(got[part], wanted[part], wanted[part])
    return comparing.result()


def problem(found: OutputCheck, limits: Limits = LIMITS) -> str | None:
    """What the verdict is."""
    return limits.output_problem(found.judged, found.classes, found.near_ties)


def flipped(found: OutputCheck) -> int:
    """Rows with another class."""
    agreement = found.judged.agreement
    assert agreement is not None
    return round((1 - agreement) * found.judged.rows)


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("scores", [softmax, lambda x: x], ids=["softmax", "logits"])
def test_noise_between_near_ties_is_excused(
    classes: int, scores: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Far more rows differ than the limit allows, and each is a near tie."""
    exact = logits(classes)
    noisy = exact + np.random.default_rng(1).normal(0, 0.012, exact.shape)
    found = checked(scores(noisy), scores(exact))
    assert flipped(found) == found.near_ties > 4
    assert problem(found) is None
    unknowing = LIMITS.output_problem(found.judged, True)
    assert unknowing is not None
    assert "top-1 agreement" in unknowing


def swapped(values: np.ndarray) -> np.ndarray:
    values[:, [0, 1]] = values[:, [1, 0]]
    return values


def turned(values: np.ndarray) -> np.ndarray:
    values[:, :3] = values[:, [1, 2, 0]]
    return values


def biased(values: np.ndarray) -> np.ndarray:
    values[:, 2] += 0.08
    return values


def lowered(values: np.ndarray) -> np.ndarray:
    values[:, 2] -= 0.08
    return values


def scaled(values: np.ndarray) -> np.ndarray:
    values[:, 3] *= 1.15
    return values


def constant(values: np.ndarray) -> np.ndarray:
    values[:, 1] = values.max()
    return values


BROKEN: dict[str, Broken] = {
    each.__name__: each for each in (swapped, turned, biased, lowered, scaled, constant)
}


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("classes", [10, 1000])
def test_a_broken_class_is_caught_among_near_ties(broken: str, classes: int, noise: float) -> None:
    """Though every margin is one that noise may close, and though there is noise besides."""
    exact = logits(classes)
    random = np.random.default_rng(1)
    wrong = BROKEN[broken](exact + random.normal(0, noise, exact.shape))
    found = checked(softmax(wrong), softmax(exact))
    said = problem(found)
    assert said is not None
    assert "top-1 agreement" in said
    assert flipped(found) - found.near_ties > 3


def test_two_classes_that_were_exchanged_are_no_near_ties() -> None:
    """Of two classes alone, whose scores are as good as equal in every row."""
    values = np.random.default_rng(0).normal(0, 0.01, (ROWS, 2))
    found = checked(softmax(values[:, ::-1]), softmax(values))
    assert (flipped(found), found.near_ties) == (ROWS, 0)


@given(
    st.floats(1e-3, 10),
    st.floats(-1, 1),
    st.floats(0, 2 * np.pi),
    st.floats(0, 1),
    st.sampled_from([10.0, 25.0, 40.0]),
)
def test_what_the_limit_of_sqnr_lets_pass_flips_near_ties_alone(
    high: float, ratio: float, angle: float, share: float, sqnr: float
) -> None:
    """Noise in any direction that leaves two scores that SQNR; the worst one is at the border."""
    limits = attrs.evolve(LIMITS, sqnr=sqnr, mean=0.0, own_mean=0.0)
    exact = np.array([[high, high * ratio]])
    radius = share * np.linalg.norm(exact) * 10 ** (-sqnr / 20)
    got = exact + radius * np.array([[np.cos(angle), np.sin(angle)]])
    # Rows that stay show that the classes aren't off, nor exchanged.
    sure = np.array([[3.0, 1.0], [1.0, 3.0]]).repeat(500, 0) * high
    found = checked(np.concatenate([got, sure]), np.concatenate([exact, sure]), limits=limits)
    assert found.near_ties == flipped(found)
    # Beyond the border: a - b = sqrt(2) share |(a, b)| for b / a = tan(45° - arcsin(share)).
    border = np.tan(np.pi / 4 - np.arcsin(10 ** (-sqnr / 20)))
    beyond, within = (np.array([[high, high * border + by * high]]) for by in (-1e-3, 1e-3))
    for row, near in ((beyond, 0), (within, 1)):
        found = checked(
            np.concatenate([row[:, ::-1], sure]), np.concatenate([row, sure]), limits=limits
        )
        assert (flipped(found), found.near_ties) == (1, near)


def test_a_code_more_or_less_is_a_near_tie_on_a_coarse_grid() -> None:
    """Two values that are off by half a step each change places; by two codes they don't."""
    random = np.random.default_rng(0)
    exact = random.integers(0, 4, (ROWS, 20)) * 0.25
    best = random.integers(0, 20, ROWS)
    second = (best + 1 + random.integers(0, 19, ROWS)) % 20
    exact[np.arange(ROWS), best] = 1.25
    exact[np.arange(ROWS), second] = 1.0
    got = exact.copy()
    got[np.arange(9), best[:9]] -= 0.25
    got[np.arange(9), second[:9]] += 0.25
    found = checked(got, exact, 0.25)
    assert (flipped(found), found.near_ties) == (9, 9)
    exact[np.arange(9), second[:9]] -= 0.25
    assert checked(got, exact, 0.25).near_ties == 0


def test_who_asks_for_all_is_excused_nothing() -> None:
    """With a limit of 100% a near tie is a difference like any other."""
    exact = logits(10)
    noisy = exact + np.random.default_rng(1).normal(0, 0.02, exact.shape)
    found = checked(softmax(noisy), softmax(exact))
    limits = attrs.evolve(LIMITS, agreement=1.0)
    said = problem(found, limits)
    assert said is not None
    assert said.endswith(
        f"; {found.near_ties} of the {flipped(found)} rows that differ are near ties"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_excuses_nothing(value: float) -> None:
    """No row of a class with such a score on one side; what both sides mask is no matter."""
    exact = logits(10)
    got = exact + np.random.default_rng(1).normal(0, 0.012, exact.shape)
    whole = checked(got, exact).near_ties
    masked = np.full((ROWS, 1), -np.inf)
    assert checked(np.hstack([got, masked]), np.hstack([exact, masked])).near_ties == whole > 4
    got[got.argmax(-1) != exact.argmax(-1)] = value
    found = checked(got, exact)
    assert found.near_ties == 0
    assert "NaN or infinite" in str(problem(found))
