"""Which convolutions behind a Split are one group, and why others are not."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.record import LayerFactors, Record
from graphquant_export.quantized.model import quantized_model

v1 = tf.compat.v1
WEIGHTS = np.random.default_rng(0).normal(size=(2, 3, 3, 3, 4)).astype(np.float32)
FACTORS = LayerFactors(0.02, 0, np.full(4, 0.01, np.float32))


def model(case=""):
    """Two convolutions of half the channels each, joined; `case` makes them something else."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 6], name="x")
        parts = tf.split(x, 2, axis=3, name="split")
        if case == "taken twice":
            parts[1] = parts[0]
        done = [
            tf.nn.conv2d(part, weight, 1, "SAME", name=f"conv{index}")
            for index, (part, weight) in enumerate(zip(parts, WEIGHTS, strict=True))
        ]
        if case == "another taker":
            done[0] += tf.reduce_sum(parts[1])
        if case == "added":
            y = done[0] + done[1]
        elif case == "two takers":
            y = done[0] * tf.reduce_max(done[1])
        else:
            joined = [*done, x] if case == "joined with something" else done
            y = tf.concat(joined, 2 if case == "joined along the width" else 3, name="concat")
        tf.identity(y, name="y")
    return graph.as_graph_def()


def group_and_log(caplog, case="", outputs=("y",), factors=(FACTORS, FACTORS)):
    record = Record({f"conv{index}": found for index, found in enumerate(factors)})
    with caplog.at_level(logging.INFO):
        found = quantized_model(model(case), outputs, record)
    reasons = [r.getMessage() for r in caplog.records if "are no group" in r.getMessage()]
    return found.groups, reasons


def test_convolutions_between_a_split_and_a_concat_are_a_group(caplog):
    """In the order of the Concat; nothing is logged."""
    (group,), reasons = group_and_log(caplog)
    assert [member.op.name for member in group.members] == ["conv0", "conv1"]
    assert not reasons


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("taken twice", "part 0 is taken by 2 layers"),
        ("another taker", '"Sum" takes a part as well, and is no quantised Conv2D'),
        ("added", '"add" (AddV2), which takes what they return, is no Concat'),
        ("two takers", 'no single op takes what they return, but "mul", "Max"'),
        ("joined with something", '"concat" (ConcatV2) takes something else as well'),
        ("joined along the width", '"split" or "concat" is not along the channels'),
    ],
)
def test_another_form_says_why_it_is_no_group(caplog, case, reason):
    """Once, with the name of what stands in the way."""
    groups, (said,) = group_and_log(caplog, case)
    assert not groups
    assert '"split" (Split) are no group' in said
    assert said.endswith(reason)


def test_outputs_and_factors_that_differ_stand_in_the_way(caplog):
    """The codes of the parts must be codes of the whole."""
    other = LayerFactors(0.03, 0, FACTORS.scale_w)
    groups, (said,) = group_and_log(caplog, factors=(FACTORS, other))
    assert not groups
    assert said.endswith("their inputs have different scales or offsets")
    for name in ("split", "conv1"):
        caplog.clear()
        groups, (said,) = group_and_log(caplog, outputs=("y", name))
        assert not groups
        assert said.endswith(f'"{name}" is an output of the model')


def test_a_squeeze_behind_a_convolution_stands_in_the_way(caplog):
    """As Keras has it behind a convolution over one axis."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 1, 6, 6], name="x")
        done = [
            tf.nn.bias_add(
                tf.squeeze(tf.nn.conv2d(part, weight[:1], 1, "SAME", name=f"conv{index}"), [1]),
                np.ones(4, np.float32),
            )
            for index, (part, weight) in enumerate(
                zip(tf.split(x, 2, axis=3, name="split"), WEIGHTS, strict=True)
            )
        ]
        tf.concat(done, 2, name="y")
    with caplog.at_level(logging.INFO):
        found = quantized_model(
            graph.as_graph_def(), ["y"], Record({"conv0": FACTORS, "conv1": FACTORS})
        )
    assert not found.groups
    assert 'a Squeeze stands behind "conv0"' in caplog.text
