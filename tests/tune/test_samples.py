"""Samples in order and at random, of which a batch at a time is read."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, NonFiniteError, RangeError
from graphquant_tune.samples import Samples

v1 = tf.compat.v1


def graph(*shapes, dtype=tf.float32):
    with tf.Graph().as_default() as made:
        for name, shape in zip("xy", shapes, strict=False):
            v1.placeholder(dtype, shape, name)
    return made


def test_a_pass_has_different_samples_of_whole_batches():
    """The last part of a batch is left out, unless there is no other; a file may be sorted."""
    x = np.arange(20, dtype=np.float32)[:, None]
    samples = Samples(graph([None, 1]), {"x": x}, 8)
    parts = [feeds["x:0"] for feeds in samples.batches()]
    assert len(set(np.concatenate(parts).ravel())) == 16
    assert parts[0].max() > 10
    again = [feeds["x:0"] for feeds in samples.batches()]
    np.testing.assert_array_equal(parts, again)
    assert [len(feeds["x:0"]) for feeds in samples.batches(10)] == [8]
    assert [len(feeds["x:0"]) for feeds in Samples(graph([None, 1]), {"x": x}, 64).batches()] == [
        20
    ]


def test_random_batches_have_every_sample_once_before_any_twice():
    """In an order of the seed's; inputs stay together."""
    x = np.arange(32, dtype=np.float32)[:, None]
    made = graph([None, 1], [None, 1])
    for seed in (0, 1):
        samples = Samples(made, {"x": x, "y:0": -x}, 8)
        batches = samples.at_random(seed)
        seen = [next(batches) for _ in range(4)]
        for feeds in seen:
            np.testing.assert_array_equal(feeds["x:0"], -feeds["y:0"])
        assert sorted(np.concatenate([feeds["x:0"] for feeds in seen]).ravel()) == list(range(32))
    again = Samples(made, {"x": x, "y": -x}, 8).at_random(1)
    np.testing.assert_array_equal(next(again)["x:0"], seen[0]["x:0"])


@pytest.mark.parametrize(
    ("shape", "count", "judges"), [(None, 200, 25), (8, 200, 24), (None, 100, 0)]
)
def test_an_eighth_is_judged_by_and_never_learned_from(shape, count, judges):
    """In whole batches where their size is fixed; few samples serve for both."""
    x = np.arange(count, dtype=np.float32)[:, None]
    learned, judged = Samples(graph([shape, 1]), {"x": x}, 8).parted()
    if not judges:
        assert learned is judged
        return
    assert (learned.count, judged.count) == (count - judges, judges)
    kept = set(judged.some(count)["x"].ravel())
    assert len(kept) == judges
    batches = learned.at_random(0)
    seen = {v for _ in range(30) for v in next(batches)["x:0"].ravel()}
    seen |= {v for feeds in learned.batches() for v in feeds["x:0"].ravel()}
    assert not seen & kept
    assert {v for feeds in judged.batches() for v in feeds["x:0"].ravel()} <= kept


def test_a_model_of_a_fixed_batch_gets_batches_of_that_size():
    """Whatever size was asked for."""
    x = np.zeros((32, 2), np.float32)
    samples = Samples(graph([4, 2]), {"x": x}, 16)
    assert {feeds["x:0"].shape for feeds in samples.batches()} == {(4, 2)}
    assert next(samples.at_random(0))["x:0"].shape == (4, 2)


def test_a_file_is_read_by_the_batch(tmp_path):
    """An array that is mapped from a file stays there."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    samples = Samples(graph([None, 3]), {"x": mapped}, 16)
    (found,) = {len(feeds["x:0"]) for feeds in samples.batches()}
    assert found == 16
    rows = {row.tobytes() for row in np.asarray(mapped)}
    assert {row.tobytes() for row in samples.some(8)["x"]} <= rows


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"x": np.zeros((7, 1))}, ConfigError, r"samples \(7\) are too few"),
        ({"z": np.zeros((9, 1))}, ConfigError, "z"),
        ({"x": np.zeros((9, 2))}, RangeError, "samples"),
        ({"x": np.full((9, 1), np.nan)}, NonFiniteError, "samples"),
        ([np.zeros((9, 1))], ConfigError, "must map names"),
        ({}, ConfigError, "x"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(given, error, message):
    """One error that names the argument."""
    with pytest.raises(error, match=message):
        Samples(graph([None, 1]), given)
