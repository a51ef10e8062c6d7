"""The float model teaches in a training graph that is rewritten before or after it is placed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct

v1 = tf.compat.v1
BATCH = np.random.default_rng(0).normal(size=(8, 8, 8, 3))
LABELS = np.arange(8) % 4


def rewrite(graph: tf.Graph, folder: Path, target: str) -> list[Any]:
    config_file = str(folder / "config.json")
    amct.create_quant_retrain_config(config_file, graph)
    record_file = str(folder / "record.txt")
    return amct.create_quant_retrain_model(graph, config_file, record_file, target=target)


@pytest.mark.parametrize("target", ["ascend", "litert"])
def test_the_teacher_may_be_placed_before_or_after_the_graph_is_rewritten(
    network: Callable[[bool], Any],
    tmp_path: Path,
    target: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One configuration, the same variables and losses; the teacher stays float, and isn't told."""
    own = network(False)
    with own.graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        checkpoint = str(v1.train.Saver().save(session, str(tmp_path / "float")))
    found = []
    for first in (True, False):
        net = network(True)
        teaching = (own.graph, {"prob": net.logits})
        if first:
            loss = amct.distillation_loss(*teaching, checkpoint=checkpoint, graph=net.graph)
        with caplog.at_level(logging.WARNING):
            ops = rewrite(net.graph, tmp_path, target)
        if not first:
            loss = amct.distillation_loss(*teaching, checkpoint=checkpoint, graph=net.graph)
        config = (tmp_path / "config.json").read_text()
        with net.graph.as_default():
            with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
                optimizer = amct.in_step_units(v1.train.AdamOptimizer(1e-3))
                step = optimizer.minimize(0.5 * net.loss + 0.5 * loss)
            with v1.Session() as session:
                amct.restore_float_checkpoint(session, checkpoint)
                feeds = {net.x: BATCH, net.labels: LABELS}
                losses = [session.run([loss, step], feeds)[0] for _ in range(3)]
                record = session.run(ops[-1])
                frozen = v1.graph_util.convert_variables_to_constants(
                    session, net.graph.as_graph_def(), ["prob"]
                )
            names = sorted(variable.op.name for variable in v1.global_variables())
        assert not any("distillation" in name for name in names)
        assert not any("distillation" in node.name for node in frozen.node)
        assert b"distillation" not in record
        found.append((config, names, losses))
    (config, names, losses), (other_config, other_names, other_losses) = found
    assert (config, names) == (other_config, other_names)
    assert losses[0] > 0
    np.testing.assert_allclose(losses, other_losses, rtol=1e-4)
    assert "distillation" not in caplog.text
