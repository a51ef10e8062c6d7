"""What was trained in Python goes on from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.record import read_record

v1 = tf.compat.v1

Run = Callable[..., Any]

IMAGES = np.random.default_rng(0).normal(size=(32, 6, 6, 4)).astype(np.float32)


def _network(training: bool) -> tf.Graph:
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(1)
        images = v1.placeholder(tf.float32, [None, 6, 6, 4], "images")
        x = tf.nn.conv2d(images, v1.get_variable("kernel", [3, 3, 4, 16]), 1, "SAME", name="conv")
        start = {"gamma": v1.ones_initializer(), "variance": v1.ones_initializer()}
        gamma, beta, mean, variance = (
            v1.get_variable(name, [16], initializer=start.get(name, v1.zeros_initializer()))
            for name in ("gamma", "beta", "mean", "variance")
        )
        if training:
            x, *batch = v1.nn.fused_batch_norm(x, gamma, beta)
            for average, value in zip((mean, variance), batch, strict=True):
                v1.add_to_collection("updates", v1.assign_sub(average, (average - value) * 0.3))
        else:
            x, *_ = v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, is_training=False)
        x = tf.reshape(tf.nn.relu(x), [-1, 576])
        tf.matmul(x, v1.get_variable("weights", [576, 3]), name="scores")
    return graph


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the training checkpoint, the inference checkpoint and its frozen graph."""
    folder = tmp_path_factory.mktemp("trained")
    config, record = str(folder / "config.json"), str(folder / "record.txt")
    graph = _network(training=True)
    amct.create_quant_retrain_config(config, graph)
    amct.create_quant_retrain_model(graph, config, record)
    with graph.as_default(), v1.Session() as session:
        scores = graph.get_tensor_by_name("scores:0")
        loss = tf.reduce_mean(tf.square(scores - 1))
        with tf.control_dependencies(v1.get_collection("updates")):
            step = v1.train.AdamOptimizer(1e-2).minimize(loss)
        session.run(v1.global_variables_initializer())
        for _ in range(10):
            session.run(step, {"images:0": IMAGES})
        v1.train.Saver().save(session, str(folder / "training"))
    graph = _network(training=False)
    retrain_ops = amct.create_quant_retrain_model(graph, config, record)
    with graph.as_default(), v1.Session() as session:
        saver = v1.train.Saver()
        saver.restore(session, str(folder / "training"))
        session.run(retrain_ops[-1])
        saver.save(session, str(folder / "inference"))
        frozen = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["scores"]
        )
    (folder / "frozen.pb").write_bytes(frozen.SerializeToString())
    amct.save_quant_retrain_model(folder / "frozen.pb", ["scores"], record, folder / "python")
    return folder


@pytest.mark.parametrize("model", ["frozen.pb", "inference.meta", "training.meta"])
def test_a_trained_model_exports_to_what_python_exports(
    graphquant: Run, trained: Path, tmp_path: Path, model: str
) -> None:
    """From the frozen graph the very bytes; from either checkpoint the same results."""
    outcome = graphquant(
        "export", trained / model, "--record", trained / "record.txt", "--target", "ascend",
        "--save-path", tmp_path / "m", "--output", "scores",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    found, expected = tmp_path / "m_quantized.pb", trained / "python_quantized.pb"
    if model == "frozen.pb":
        assert found.read_bytes() == expected.read_bytes()
    np.testing.assert_array_equal(_scores(found), _scores(expected))


def test_a_trained_model_is_not_quantised_again(
    graphquant: Run, trained: Path, tmp_path: Path
) -> None:
    """`quantize` refuses it, and says that its record is to be exported."""
    np.save(tmp_path / "x.npy", IMAGES)
    outcome = graphquant(
        "quantize", trained / "frozen.pb", "--calibration", tmp_path / "x.npy", "--target",
        "ascend", "--save-path", tmp_path / "m", "--output", "scores",
    )  # fmt: skip
    assert outcome.exit_code == 2
    assert "was trained with fake quantisers" in outcome.stderr


def test_its_record_and_configuration_fit(graphquant: Run, trained: Path) -> None:
    """The checks of the command line agree with what training wrote."""
    for arguments in (
        ("record", "check", trained / "record.txt", trained / "frozen.pb"),
        ("config", "check", trained / "config.json", trained / "frozen.pb"),
    ):
        outcome = graphquant(*arguments, "--output", "scores", "--json")
        assert outcome.exit_code == 0, outcome.stderr
        assert json.loads(outcome.stdout)["ok"] is True


def _scores(path: Path) -> Any:
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(v1.GraphDef.FromString(path.read_bytes()), name="")
        return session.run("scores:0", {"images:0": IMAGES})


def test_a_completed_record_is_written_beside_the_export_and_over_none(
    graphquant: Run, trained: Path, tmp_path: Path
) -> None:
    """With samples the record gets the ranges that it lacked; the record that was given stays."""
    np.save(tmp_path / "x.npy", IMAGES)
    given = tmp_path / "m_record.txt"
    given.write_bytes((trained / "record.txt").read_bytes())

    def export(prefix: str) -> object:
        return graphquant(
            "export", trained / "frozen.pb", "--record", given, "--target", "litert",
            "--calibration", tmp_path / "x.npy", "--save-path", tmp_path / prefix,
            "--output", "scores",
        )  # fmt: skip

    outcome = export("m")
    assert outcome.exit_code != 0
    assert "m_record.txt would be written over the record itself" in outcome.stderr
    assert given.read_bytes() == (trained / "record.txt").read_bytes()
    outcome = export("n")
    assert outcome.exit_code == 0, outcome.stderr
    completed = read_record(tmp_path / "n_record.txt")
    assert completed.factors == read_record(given).factors
    assert completed.value_grids
