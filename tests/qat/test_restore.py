"""Training starts from a float checkpoint, stops, and goes on from a quantised one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.exceptions import ConfigError, ModelFileError

v1 = tf.compat.v1


def float_checkpoint(network: Callable[[bool], Any], folder: Path) -> tuple[str, np.ndarray]:
    net = network(True)
    with net.graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        weight = session.run("conv/weights/Read/ReadVariableOp:0")
        return str(v1.train.Saver().save(session, str(folder / "float"))), weight


def rewritten(network: Callable[[bool], Any], folder: Path) -> tuple[Any, list[Any]]:
    net = network(True)
    config_file = str(folder / "config.json")
    amct.create_quant_retrain_config(config_file, net.graph)
    ops = amct.create_quant_retrain_model(net.graph, config_file, str(folder / "record.txt"))
    return net, ops


def test_a_float_checkpoint_restores_and_leaves_the_ranges_at_their_start(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """Weights from the checkpoint; clips and the optimizer's variables initialised and returned."""
    checkpoint, weight = float_checkpoint(network, tmp_path)
    net, ops = rewritten(network, tmp_path)
    with net.graph.as_default():
        v1.train.MomentumOptimizer(0.1, 0.9).minimize(net.loss)
        with v1.Session() as session:
            started = amct.restore_float_checkpoint(session, checkpoint)
            np.testing.assert_array_equal(session.run("conv/weights/Read/ReadVariableOp:0"), weight)
            assert session.run(v1.report_uninitialized_variables()).size == 0
            assert session.run("conv/weights/ULQ_batches/Read/ReadVariableOp:0") == 0
    names = {variable.op.name for variable in started}
    assert {variable.op.name for variable in ops[:-1]} <= names
    assert "conv/weights/Momentum" in names
    assert "conv/weights" not in names


def test_training_that_stops_and_resumes_ends_where_training_in_one_go_ends(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """Six steps = three steps, a checkpoint, and three more; and the records are the same bytes."""
    checkpoint, _ = float_checkpoint(network, tmp_path)
    batches = [np.random.default_rng(step).normal(size=(8, 8, 8, 3)) for step in range(6)]
    labels = np.arange(8) % 4

    def run(start: str, steps: list[np.ndarray], name: str) -> tuple[str, bytes]:
        net, ops = rewritten(network, tmp_path)
        with net.graph.as_default():
            step = v1.train.MomentumOptimizer(0.05, 0.9).minimize(net.loss)
            with v1.Session() as session:
                amct.restore_float_checkpoint(session, start)
                for batch in steps:
                    session.run(step, {net.x: batch, net.labels: labels})
                saved = str(v1.train.Saver().save(session, str(tmp_path / name)))
                return saved, session.run(ops[-1])

    _, in_one_go = run(checkpoint, batches, "whole")
    half, _ = run(checkpoint, batches[:3], "half")
    _, resumed = run(half, batches[3:], "resumed")
    assert in_one_go == resumed
    assert (tmp_path / "record.txt").read_bytes() == resumed


def test_a_wrong_checkpoint_is_named_and_nothing_is_restored(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """Missing, of another model, or with another shape."""
    net, _ = rewritten(network, tmp_path)
    other = tf.Graph()
    with other.as_default(), v1.Session() as session:
        v1.get_variable("other", [2])
        session.run(v1.global_variables_initializer())
        foreign = v1.train.Saver().save(session, str(tmp_path / "other"))
    reshaped = tf.Graph()
    with reshaped.as_default(), v1.Session() as session:
        v1.get_variable("conv/weights", [2, 2])
        session.run(v1.global_variables_initializer())
        misshapen = v1.train.Saver().save(session, str(tmp_path / "reshaped"))
    with v1.Session(graph=net.graph) as session:
        for checkpoint, match in [
            (str(tmp_path / "absent"), "absent"),
            (foreign, "none of"),
            (misshapen, r"conv/weights.*\[2, 2\]"),
        ]:
            with pytest.raises(ModelFileError, match=match):
                amct.restore_float_checkpoint(session, checkpoint)


def test_restoring_changes_no_op_that_the_session_may_have_run(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """After `session.run(initializer)` too: TensorFlow would warn of an op that was changed."""
    checkpoint, _ = float_checkpoint(network, tmp_path)
    net, _ = rewritten(network, tmp_path)
    with net.graph.as_default(), v1.Session() as session:
        initializers = [variable.initializer for variable in v1.global_variables()]
        session.run(initializers)
        before = {op.name: op.node_def for op in net.graph.get_operations()}
        amct.restore_float_checkpoint(session, checkpoint)
        for name, node in before.items():
            assert net.graph.get_operation_by_name(name).node_def == node


def test_only_a_record_that_holds_something_is_overwritten_with_a_warning(
    network: Callable[[bool], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The training graph leaves an empty file for the inference graph: that is no news."""
    rewritten(network, tmp_path)
    caplog.clear()
    rewritten(network, tmp_path)
    assert not [line for line in caplog.messages if "record_file" in line]
    (tmp_path / "record.txt").write_text("record { }")
    rewritten(network, tmp_path)
    assert [line for line in caplog.messages if "record_file" in line and "overwritten" in line]


def test_arguments_in_the_wrong_order_are_named(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """A path is no session, and a session no path; a Path is as good as its text."""
    checkpoint, _ = float_checkpoint(network, tmp_path)
    net, _ = rewritten(network, tmp_path)
    with net.graph.as_default(), v1.Session() as session:
        with pytest.raises(ConfigError, match=r"session \(str\) must be a session"):
            amct.restore_float_checkpoint(checkpoint, session)
        with pytest.raises(ModelFileError, match=r"checkpoint \(NoneType\) must be a path"):
            amct.restore_float_checkpoint(session, None)
        assert amct.restore_float_checkpoint(session, Path(checkpoint))
