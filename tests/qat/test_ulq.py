"""ULQ in a graph computes what its NumPy statement says, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from graphquant_core.calibration.ifmr import ifmr_range as ifmr_in_numpy
from graphquant_core.exceptions import ConfigError
from graphquant_core.graph import plan_graph
from graphquant_core.grid import INT8, INT8_NARROW
from graphquant_core.quantize import affine_params, fake_quantize
from graphquant_core.quantizers import FakeQuantized, QuantizerRequest
from graphquant_core.ulq import ulq_gradient
from graphquant_qat.graph.ifmr import ifmr_range
from graphquant_qat.graph.ulq import build_ulq

v1 = tf.compat.v1
Array = npt.NDArray[np.float32]


def activations(seed: int, count: int = 4000, low: float = -1.0) -> Array:
    values = np.random.default_rng(seed).normal(size=count).astype(np.float32)
    return np.maximum(values, np.float32(low) * np.abs(values).max())


class Ulq:
    """A graph with one ULQ quantiser and its gradients; a session that is initialised."""

    def __init__(self, **options: object) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.x = v1.placeholder(tf.float32, [None])
            self.upstream = v1.placeholder(tf.float32, [None])
            request = QuantizerRequest("layer", INT8, options=options)
            self.built: FakeQuantized = build_ulq(tf.identity(self.x), request)
            variables = v1.trainable_variables()
            self.clips = {variable.op.name: variable for variable in variables}
            loss = tf.reduce_sum(self.built.output * self.upstream)
            self.gradients = tf.gradients(loss, [self.x, *self.clips.values()])
            self.session = v1.Session()
            self.session.run(v1.global_variables_initializer())

    def output(self, x: Array) -> Array:
        return self.session.run(self.built.output, {self.x: x})

    def step(self, x: Array, upstream: Array | None = None) -> list[Array]:
        upstream = np.ones_like(x) if upstream is None else upstream
        return self.session.run(self.gradients, {self.x: x, self.upstream: upstream})

    def stored(self) -> dict[str, float]:
        return {name: float(self.session.run(value)) for name, value in self.clips.items()}


def has_one_zero_point(clip_min: float, clip_max: float) -> bool:
    """Whether 0.0 isn't halfway between two codes, where float32 decides which one is its own."""
    steps = -clip_min * INT8.levels / (clip_max - clip_min)
    return abs(steps - np.floor(steps) - 0.5) > 1e-3


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    clip_max=st.floats(0.125, 3.0, width=32),
    clip_min=st.floats(-3.0, -0.125, width=32),
)
def test_forward_is_fake_quantisation_with_the_parameters_of_the_range(
    seed: int, clip_max: float, clip_min: float
) -> None:
    """Equal to NumPy up to ties, of which the kernel rounds one step up."""
    assume(has_one_zero_point(clip_min, clip_max))
    ulq = Ulq(clip_max=clip_max, clip_min=clip_min)
    x = activations(seed)
    params = affine_params(clip_min, clip_max, INT8)
    difference = np.abs(ulq.output(x) - fake_quantize(x, params)) / params.scale
    assert (difference > 1e-2).mean() < 1e-3
    assert difference.max() < 1.01
    scale, offset = ulq.session.run([ulq.built.scale, ulq.built.offset])
    assert scale == pytest.approx(float(params.scale), rel=1e-6)
    assert offset == params.offset


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    clip_max=st.floats(0.125, 3.0, width=32),
    clip_min=st.floats(-3.0, -0.125, width=32),
)
def test_the_gradient_is_the_stated_formula(seed: int, clip_max: float, clip_min: float) -> None:
    """dx exactly, the gradients of both clips to 1e-3 of the sum of their terms' sizes."""
    assume(has_one_zero_point(clip_min, clip_max))
    ulq = Ulq(clip_max=clip_max, clip_min=clip_min)
    x = activations(seed)
    upstream = activations(seed + 1)
    dx, d_max, d_min = ulq.step(x, upstream)
    expected_dx, expected_max, expected_min = ulq_gradient(x, upstream, clip_max, clip_min, INT8)
    # At a grid's end, float32 may put a value on either side of it.
    assert (dx != expected_dx).mean() < 1e-3
    size = np.abs(upstream).sum() / INT8.levels + abs(expected_max) + abs(expected_min)
    assert abs(d_max - expected_max) < 1e-3 * size
    assert abs(d_min - expected_min) < 1e-3 * size


KINDS: dict[str, Callable[[np.random.Generator, int], npt.NDArray[np.float64]]] = {
    "normal": lambda random, count: random.normal(random.normal(), 1.0, count),
    "relu6": lambda random, count: np.clip(random.normal(0, 4, count), 0, 6),
    "heavy tails": lambda random, count: random.standard_t(2, count),
    "an outlier": lambda random, count: np.append(random.uniform(-1, 1, count - 1), 50.0),
    "on a grid": lambda random, count: np.rint(random.normal(0, 60, count)) * 0.0137,
    "few values": lambda random, count: random.choice(random.normal(size=7), count),
    "below zero": lambda random, count: -random.exponential(size=count),
}


class Search:
    """The search in the graph, on what is fed."""

    def __init__(self, fixed_min: bool) -> None:
        with tf.Graph().as_default() as graph:
            self.x = v1.placeholder(tf.float32, [None])
            self.range = ifmr_range(self.x, INT8.levels, fixed_min)
        self.session = v1.Session(graph=graph)

    def __call__(self, x: Array) -> tuple[np.float32, np.float32]:
        low, high = self.session.run(self.range, {self.x: x})
        return low, high


@pytest.fixture(scope="module")
def searches() -> dict[bool, Search]:
    return {fixed_min: Search(fixed_min) for fixed_min in (False, True)}


@settings(max_examples=150)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    count=st.sampled_from((2, 50, 1000, 20_000, 1_100_000)),
    seed=st.integers(0, 2**32 - 1),
    size=st.floats(-3, 3),
)
def test_the_search_in_the_graph_finds_what_the_one_over_all_values_does(
    searches: dict[bool, Search], kind: str, count: int, seed: int, size: float
) -> None:
    """clip_min and clip_max of AMCT's IFMR, within half a step.

    Rarely, where the tails are so heavy that a step holds most values, another range whose error is
    less than a hundredth larger.
    """
    x = (KINDS[kind](np.random.default_rng(seed), count) * 10**size).astype(np.float32)
    fixed_min = bool(x.min() >= 0)
    found, exact = searches[fixed_min](x), ifmr_in_numpy(x, INT8)
    step = (exact[1] - exact[0]) / INT8.levels
    if np.abs(np.subtract(found, exact)).max() > step / 2:
        errors = [squared_error(x, *ends) for ends in (found, exact)]
        rounding = 1e-12 * float(np.square(x).sum())
        assert errors[0] == pytest.approx(errors[1], rel=1e-2, abs=rounding)


def test_the_search_adds_no_layer_to_the_plan() -> None:
    """What a rewrite adds, in functions too, is no op that a layer handler knows."""
    ulq = Ulq()
    assert plan_graph(ulq.graph).rows == ()


def squared_error(x: Array, low: np.float32, high: np.float32) -> float:
    """Of rounding `x` to the grid from `low` to `high`, whose ends are codes."""
    scale = np.float64(high - low) / INT8.levels
    codes = np.clip(np.rint(x / scale), np.rint(low / scale), np.rint(high / scale))
    return float(np.square(codes * scale - x).sum())


def test_an_empty_batch_changes_nothing_and_the_search_waits_for_data() -> None:
    """No range comes from no values: the next batch gives the start values."""
    ulq = Ulq()
    before = ulq.stored()
    empty = np.zeros(0, np.float32)
    gradients = ulq.step(empty)
    assert gradients[0].shape == (0,)
    assert np.isfinite(gradients[1:]).all()
    assert ulq.stored() == before
    assert not ulq.session.run(ulq.built.calibrated)
    x = activations(1)
    ulq.step(x)
    assert ulq.stored()["layer/ULQ_clip_max"] == pytest.approx(
        float(ifmr_in_numpy(x, INT8)[1]), rel=1e-5
    )
    ulq.step(empty)
    assert ulq.session.run(ulq.built.calibrated)


def test_start_values_come_from_the_first_training_batch_and_are_then_left_to_training() -> None:
    """Before: searched each time and stored by the backward pass; after: what is stored."""
    ulq = Ulq()
    first, second = activations(1), 5 * activations(2)
    expected = affine_params(*ifmr_in_numpy(first, INT8), INT8)
    np.testing.assert_allclose(
        ulq.output(first), fake_quantize(first, expected), atol=1.01 * expected.scale
    )
    assert ulq.stored() == {"layer/ULQ_clip_max": 1.0, "layer/ULQ_clip_min": -1.0}
    assert not ulq.session.run(ulq.built.calibrated)
    ulq.step(first)
    low, high = ifmr_in_numpy(first, INT8)
    assert ulq.stored()["layer/ULQ_clip_max"] == pytest.approx(float(high), rel=1e-5)
    assert ulq.stored()["layer/ULQ_clip_min"] == pytest.approx(float(low), rel=1e-5)
    assert ulq.session.run(ulq.built.calibrated)
    before = ulq.stored()
    ulq.step(second)
    assert ulq.stored() == before
    assert ulq.output(second).max() <= float(high) * 1.01


def test_several_batches_are_averaged() -> None:
    """batch_num=3: the mean of three searches, and no fourth."""
    ulq = Ulq(batch_num=3)
    batches = [activations(seed) * (seed + 1) for seed in range(4)]
    for batch in batches:
        ulq.step(batch)
    highs = [ifmr_in_numpy(batch, INT8)[1] for batch in batches[:3]]
    assert ulq.stored()["layer/ULQ_clip_max"] == pytest.approx(float(np.mean(highs)), rel=1e-5)


def test_a_fixed_minimum_has_no_variable_and_stays_zero() -> None:
    """fixed_min: one clip is trained, and zero is the lowest value."""
    ulq = Ulq(fixed_min=True)
    ulq.step(np.abs(activations(3)))
    assert list(ulq.clips) == ["layer/ULQ_clip_max"]
    assert ulq.output(activations(3)).min() == 0.0
    assert ulq.session.run(ulq.built.offset) == INT8.minimum


@pytest.mark.parametrize(("clip_max", "clip_min"), [(-0.5, -1.0), (1.0, 0.7), (-1.0, 1.0), (0, 0)])
def test_a_range_that_training_pushed_across_zero_still_holds_zero_and_gets_gradients(
    clip_max: float, clip_min: float
) -> None:
    """The range is bounded where it is used; the gradient goes past the bound, so it comes back."""
    ulq = Ulq(clip_max=1.0, clip_min=-1.0)
    for name, value in (("layer/ULQ_clip_max", clip_max), ("layer/ULQ_clip_min", clip_min)):
        with ulq.graph.as_default():
            ulq.clips[name].load(value, ulq.session)
    x = activations(4)
    output = ulq.output(x)
    scale = ulq.session.run(ulq.built.scale)
    assert np.isfinite(output).all()
    assert scale > 0
    assert ulq.output(np.zeros(3, np.float32)).tolist() == [0, 0, 0]
    _, d_max, d_min = ulq.step(x)
    assert np.isfinite([d_max, d_min]).all()
    # All upstream gradients are 1, so that what lies above pulls the maximum, at 1 a value.
    assert d_max > 0


def test_a_constant_activation_gives_a_range_that_holds_it() -> None:
    """All zeros and a single value: no division by zero, zero stays zero."""
    for value in (0.0, 2.5, -2.5):
        ulq = Ulq()
        x = np.full(100, value, np.float32)
        gradients = ulq.step(x)
        assert all(np.isfinite(gradient).all() for gradient in gradients)
        np.testing.assert_allclose(ulq.output(x), x, atol=0.02)


def test_a_grid_per_channel_is_refused() -> None:
    """ULQ trains one range for a tensor."""
    with tf.Graph().as_default():
        x = tf.constant([1.0])
        for request in (QuantizerRequest("k", INT8_NARROW), QuantizerRequest("k", INT8, (0,))):
            with pytest.raises(ConfigError, match="ulq_quantize"):
                build_ulq(x, request)
