"""Outputs are judged as what they are: class scores by their top-1, others by their distance."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

import graphquant_export as gq
from graphquant_core.exceptions import ConfigError
from graphquant_core.exporter import ExportSource
from graphquant_core.graph.frozen import GraphDefEditor
from graphquant_core.record import Record
from graphquant_export.post_training import quantize_post_training
from graphquant_export.targets.ascend import export_ascend
from graphquant_export.verification import Comparison, Limits, verify
from graphquant_export.verification.class_scores import class_outputs

v1 = tf.compat.v1


def compared(rows: int, differing: int, mean: float = 0.1, sqnr: float | None = 40.0) -> Comparison:
    """An output of which so many rows have another largest value."""
    agreement = 1 - differing / rows
    return Comparison(rows * 10, 0.1, "range / 255", 9.0, mean, sqnr, 0, agreement, rows)


def allowed(rows: int, limits: Limits) -> int:
    """How many rows may differ."""
    return next(
        n - 1 for n in range(rows + 2) if n > rows or limits.output_problem(compared(rows, n), True)
    )


def tail(rows: int, share: float, more_than: int) -> float:
    """P(X > more_than) of a binomial X, exactly."""
    return 1 - sum(
        math.comb(rows, k) * share**k * (1 - share) ** (rows - k) for k in range(more_than + 1)
    )


@pytest.mark.parametrize("agreement", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("rows", [1, 2, 8, 32, 100, 500, 1000])
def test_chance_is_not_held_against_an_artifact(rows: int, agreement: float) -> None:
    """An artifact just within the limit passes 19 times of 20, one far beyond is found.

    One sample alone never crosses a limit below 100%.
    """
    most = allowed(rows, Limits(agreement=agreement))
    assert most >= 1
    assert tail(rows, 1 - agreement, most) < 0.05
    if rows >= 100:
        assert tail(rows, 0.3, most) > 0.99


def test_two_of_32_pass_and_three_do_not() -> None:
    """At the default limit of 99%; of 10,000, 120."""
    assert allowed(32, Limits()) == 2
    assert allowed(10_000, Limits()) == 120


def test_who_asks_for_all_gets_all() -> None:
    """With a limit of 100% no row may differ."""
    assert [allowed(rows, Limits(agreement=1.0)) for rows in (1, 32, 1000)] == [0, 0, 0]


def test_other_outputs_are_judged_by_their_sqnr() -> None:
    """Where it differs by more than half a step on average; top-1 is no matter."""
    limits = Limits()
    assert limits.output_problem(compared(32, 32), False) is None
    assert limits.output_problem(compared(32, 0, mean=0.4, sqnr=3.0), False) is None
    assert limits.output_problem(compared(32, 0, mean=2.0, sqnr=None), False) is None
    said = limits.output_problem(compared(32, 0, mean=2.0, sqnr=12.0), False)
    assert said == "its SQNR is 12.0 dB, below 25 dB"
    assert limits.output_problem(compared(32, 0, mean=2.0, sqnr=12.0), True) is None
    assert "on average" in (limits.output_problem(compared(32, 0, mean=5.0), False) or "")


def graph_of_outputs() -> tf.Graph:
    """Outputs that are scores of classes, and others."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6], "x")
        scores = tf.nn.softmax(x, name="softmax")
        tf.identity(scores, "probabilities")
        tf.nn.log_softmax(x, name="log_probabilities")
        tf.cast(tf.reshape(scores, [-1, 1, 6]), tf.float64, name="reshaped")
        tf.reshape(scores, [-1, 3, 2], name="cut")
        tf.multiply(scores, 2.0, name="scaled")
        tf.nn.sigmoid(x, name="labels_of_their_own")
    return graph


SCORES = ["softmax", "probabilities", "log_probabilities", "reshaped"]
OTHERS = ["cut", "scaled", "labels_of_their_own", "x"]


def test_class_scores_are_what_a_softmax_returns() -> None:
    """Through ops that change neither values nor the axis of the classes."""
    graph = graph_of_outputs()
    assert class_outputs(graph, SCORES + OTHERS, (), None) == set(SCORES)
    assert class_outputs(graph, OTHERS, ["scaled"], None) == {"scaled"}
    assert class_outputs(graph, SCORES + OTHERS, ["x"], ["cut:0"]) == {"cut"}
    assert class_outputs(graph, SCORES, ["softmax"], []) == set()
    with pytest.raises(ConfigError, match='"softmaxx" is no output of the model; did you mean'):
        class_outputs(graph, SCORES, (), ["softmaxx"])
    with pytest.raises(ConfigError, match="must be a list of outputs"):
        class_outputs(graph, SCORES, (), "softmax")


def denoiser(sigmoid: bool, factor: float = 1.0) -> Any:
    """Two channels that are nearly equal everywhere: which is larger says nothing."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        y = v1.placeholder(tf.float32, [None, 6, 6, 4], "x")
        y = tf.nn.conv2d(
            y, random.normal(size=(3, 3, 4, 8)).astype(np.float32), 1, "SAME", name="a"
        )
        weight = np.repeat(random.normal(size=(3, 3, 8, 1)), 2, 3).astype(np.float32)
        weight[..., 1] *= 1.0005
        weight *= factor
        y = tf.nn.conv2d(tf.nn.relu(y), weight, 1, "SAME", name="b")
        tf.identity(tf.nn.sigmoid(y) if sigmoid else y, "y")
    return GraphDefEditor(graph.as_graph_def()).graph_def(["y"])


@pytest.fixture
def samples() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).normal(size=(8, 6, 6, 4)).astype(np.float32)}


@pytest.mark.parametrize("sigmoid", [False, True])
def test_a_healthy_model_that_classifies_nothing_passes(
    sigmoid: bool, samples: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Its quality beside the float model is shown, in decibels, and not judged."""
    model = denoiser(sigmoid)
    record = quantize_post_training(
        model, ["y"], samples, activation="ifmr", equalize=False, correct_bias=False
    )
    found = verify(export_ascend(model, ["y"], record, tmp_path / "m"), samples)
    (output,) = found.outputs
    assert found.ok()
    assert not output.classes
    assert output.float_model == output.simulation
    assert output.float_model is not None
    assert (output.float_model.agreement or 1) < 0.99
    assert [row[1:3] for row in found.summary()] == [
        ("integer reference", "-"),
        ("float model", "-"),
    ]
    told = verify(export_ascend(model, ["y"], record, tmp_path / "m"), samples, classes=["y"])
    assert told.outputs[0].classes
    assert [row[2] for row in told.summary()] != ["-", "-"]


def test_the_quality_beside_the_float_model_is_what_a_user_measures(
    samples: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """The SQNR of what ONNX Runtime returns beside what TensorFlow does, on no grid."""
    model = denoiser(False)
    loaded = gq.LoadedModel(model, ("x",), ("y",))
    artifact = gq.export(loaded, gq.quantize(loaded, samples, "onnx"), "onnx", tmp_path / "m")
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(model, name="")
        wanted = session.run("y:0", {f"{name}:0": value for name, value in samples.items()})
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    runtime = onnxruntime.InferenceSession(str(artifact.paths[0]), options)
    got = runtime.run(None, {runtime.get_inputs()[0].name: samples["x"]})[0]
    truth = 10 * np.log10(np.square(wanted).sum() / np.square(got - wanted).sum())
    (output,) = gq.verify(artifact, samples).outputs
    assert output.float_model is not None
    assert output.float_model.step_source == "artifact"
    assert output.float_model.sqnr == pytest.approx(truth, abs=0.01)
    assert output.float_model == output.simulation


@pytest.mark.parametrize("factor", [0.7, 1.25])
@pytest.mark.parametrize("sigmoid", [False, True])
def test_a_broken_one_is_named(
    factor: float, sigmoid: bool, samples: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """A file whose last layer has scales that are too large or too small, for the same codes."""
    model = denoiser(sigmoid)
    record = quantize_post_training(model, ["y"], samples)
    scale_w = record["b"].scale_w
    assert scale_w is not None
    changed = Record({**record, "b": attrs.evolve(record["b"], scale_w=scale_w * factor)})
    artifact = export_ascend(denoiser(sigmoid, factor), ["y"], changed, tmp_path / "m")
    claimed = attrs.evolve(artifact, source=ExportSource(model, ("y",), record))
    found = verify(claimed, samples, layers=True)
    divergence = found.first_divergence()
    assert divergence is not None
    assert divergence.layer == "b"
    # A sigmoid hides much of it: between 0 and 1 all are near an end.
    assert sigmoid or found.problems()[0].startswith('output "y": ')


CLASSES = 20


def untrained(change: Callable[[np.ndarray], np.ndarray], softmax: bool) -> Any:
    """A classifier whose first two classes nearly tie for any sample."""
    random = np.random.default_rng(0)
    weight = random.normal(0, 0.1, (8, CLASSES)).astype(np.float32)
    weight[:, :2] = random.normal(0.5, 0.1, (8, 1)) + random.normal(0, 0.008, (8, 2))
    with tf.Graph().as_default() as graph:
        y = v1.placeholder(tf.float32, [None, 8], "x")
        y = tf.matmul(y, change(weight), name="dense")
        (tf.nn.softmax if softmax else tf.identity)(y, name="y")
    return GraphDefEditor(graph.as_graph_def()).graph_def(["y"])


def noisy(weight: np.ndarray) -> np.ndarray:
    return weight + np.random.default_rng(7).normal(0, 0.003, weight.shape).astype(np.float32)


def swapped(weight: np.ndarray) -> np.ndarray:
    return np.concatenate([weight[:, 1::-1], weight[:, 2:]], 1)


def scaled(weight: np.ndarray) -> np.ndarray:
    return weight * np.array([0.93] + [1.0] * (CLASSES - 1), np.float32)


@pytest.mark.parametrize("softmax", [True, False], ids=["softmax", "labels"])
@pytest.mark.parametrize("change", [noisy, swapped, scaled])
def test_near_ties_are_told_from_classes_that_are_wrong(
    change: Callable[[np.ndarray], np.ndarray], softmax: bool, tmp_path: Path
) -> None:
    """A file whose dense layer is a little off passes; one of whose classes isn't right doesn't."""
    feeds = {"x": np.random.default_rng(1).uniform(0, 1, (64, 8)).astype(np.float32)}
    labels = None if softmax else np.zeros(64, int)
    model, changed = untrained(lambda weight: weight, softmax), untrained(change, softmax)
    records = [quantize_post_training(each, ["y"], feeds) for each in (model, changed)]
    artifact = export_ascend(changed, ["y"], records[1], tmp_path / "m")
    assert verify(artifact, feeds, labels=labels).ok()
    claimed = attrs.evolve(artifact, source=ExportSource(model, ("y",), records[0]))
    found = verify(claimed, feeds, labels=labels)
    (output,) = found.outputs
    assert output.judged.agreement is not None
    assert output.judged.agreement < 0.9
    same = found.summary()[0][2]
    if change is noisy:
        assert found.ok()
        assert same == f"{output.judged.agreement:.2%} ({output.near_ties} near ties)"
    else:
        assert "top-1 agreement" in found.problems()[0]


def test_the_float_model_of_a_trained_one_can_be_given(
    trained: Any, image: np.ndarray, tmp_path: Path
) -> None:
    """What was trained is no float model; one that is given is run beside it."""
    frozen, record = trained
    artifact = export_ascend(frozen, ["logits"], record, tmp_path / "m")
    (output,) = verify(artifact, {"image": image}).outputs
    assert output.float_model is None
    (output,) = verify(artifact, {"image": image}, float_model=frozen).outputs
    assert output.float_model == output.simulation
