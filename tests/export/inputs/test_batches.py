"""Feeds in batches: which placeholders are split, and into what."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, NonFiniteError, RangeError
from graphquant_export.inputs.batches import make_batches
from graphquant_export.inputs.feeds import checked_feeds

v1 = tf.compat.v1


def graph_of(**shapes):
    """A graph with a placeholder for each shape."""
    with tf.Graph().as_default() as graph:
        for name, shape in shapes.items():
            v1.placeholder(tf.float32, shape, name)
    return graph


def sizes(graph, size=None, **feeds):
    """(samples, shape of each feed) of every batch."""
    arrays = {name: np.arange(np.prod(shape)).reshape(shape) for name, shape in feeds.items()}
    batches = make_batches(graph, arrays, size)
    for name, array in arrays.items():
        parts = [batch.by_op()[name] for batch in batches]
        if array.ndim and sum(len(part) for part in parts) == len(array):
            np.testing.assert_array_equal(np.concatenate(parts), array)
    return [(b.size, {name: value.shape for name, value in b.by_op().items()}) for b in batches]


def test_open_batches_are_split_and_the_last_is_shorter():
    """7 samples in parts of 3; a scalar and a placeholder of a fixed shape go along whole."""
    graph = graph_of(x=[None, 2], rate=[], anchors=[5, 4])
    found = sizes(graph, 3, x=(7, 2), rate=(), anchors=(5, 4))
    whole = {"rate": (), "anchors": (5, 4)}
    assert found == [(n, {"x": (n, 2), **whole}) for n in (3, 3, 1)]


def test_two_inputs_are_split_together():
    """Open placeholders of one length are split at the same places, others not at all."""
    graph = graph_of(x=[None, 2], y=[None])
    assert [row[1] for row in sizes(graph, 4, x=(6, 2), y=(6,))] == [
        {"x": (4, 2), "y": (4,)},
        {"x": (2, 2), "y": (2,)},
    ]
    assert sizes(graph, 4, x=(6, 2), y=(3,)) == [(6, {"x": (6, 2), "y": (3,)})]


def test_a_fixed_batch_is_run_as_often_as_it_fits():
    """6 samples for a placeholder of 2 are 3 batches; 5 are an error that says what fits."""
    graph = graph_of(x=[2, 3])
    assert sizes(graph, 100, x=(6, 3)) == [(2, {"x": (2, 3)})] * 3
    assert sizes(graph, 100, x=(2, 3)) == [(2, {"x": (2, 3)})]
    with pytest.raises(RangeError, match=r"\(2, 3\)"):
        sizes(graph, 100, x=(5, 3))


def test_the_default_bounds_the_values_of_a_batch():
    """About a million values, at most 256 samples, at least one."""
    graph = graph_of(x=[None, None])
    assert [row[0] for row in sizes(graph, x=(300, 2))] == [256, 44]
    assert [row[0] for row in sizes(graph, x=(5, 2**19))] == [2, 2, 1]
    assert [row[0] for row in sizes(graph, x=(2, 2**21))] == [1, 1]


def test_all_parts_are_checked_before_the_first_is_taken():
    """NaN in the last of a thousand samples is told at once, not after minutes of running."""
    values = np.ones((1000, 2), np.float32)
    values[-1, 0] = np.nan
    with pytest.raises(NonFiniteError, match="NaN"):
        make_batches(graph_of(x=[None, 2]), {"x": values}, 10)


def test_one_part_is_in_memory_at_a_time(tmp_path):
    """Bytes in a file of 40 MB become floats of 160 MB, of which a part has 1.6 MB."""
    np.save(tmp_path / "x.npy", np.ones((40_000, 1000), np.uint8))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    graph = graph_of(x=[None, 1000])
    tracemalloc.start()
    try:
        batches = make_batches(graph, {"x": mapped}, 400)
        sums = [float(batch.by_op()["x"].sum()) for batch in batches]
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert sums == [400_000.0] * 100
    assert batches.total == 40_000


@pytest.mark.parametrize("size", [0, -1, 2.0, True], ids=str)
def test_an_impossible_size_is_refused(size):
    """The size must be an integer of 1 or more."""
    with pytest.raises(ConfigError, match="batch_size"):
        make_batches(graph_of(x=[None]), {"x": np.zeros(3)}, size)


def test_a_scalar_that_is_given_as_a_vector_is_refused():
    """The error names the placeholder and both shapes."""
    with pytest.raises(RangeError, match=r'"rate" has the shape \[1\]'):
        sizes(graph_of(x=[None, 2], rate=[]), 3, x=(6, 2), rate=(1,))


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (tf.int32, np.array([2**31])),
        (tf.int8, np.array([200])),
        (tf.uint8, np.array([-1])),
        (tf.uint8, np.array([0.5])),
        (tf.float32, np.array([1e39])),
        (tf.float16, np.array([70000])),
    ],
    ids=str,
)
def test_a_value_that_the_type_does_not_hold_is_refused(dtype, values):
    """Nothing wraps around, becomes infinite or loses its fraction; the error names the type."""
    with tf.Graph().as_default() as graph:
        v1.placeholder(dtype, [None], "x")
    with pytest.raises(RangeError, match=f'"x" .* does not fit into {dtype.name}'):
        checked_feeds(graph, {"x": values})


def test_values_that_the_type_holds_are_converted():
    """Whole numbers in any type; floats are rounded."""
    with tf.Graph().as_default() as graph:
        v1.placeholder(tf.int32, [None], "count")
        v1.placeholder(tf.float32, [None], "x")
    given = {"count": np.array([2**31 - 1, -(2**31)]), "x": np.array([0.1, -3e38])}
    found = checked_feeds(graph, given)
    np.testing.assert_array_equal(found["count:0"], given["count"])
    np.testing.assert_array_equal(found["x:0"], given["x"].astype(np.float32))
    assert (found["count:0"].dtype, found["x:0"].dtype) == (np.int32, np.float32)
