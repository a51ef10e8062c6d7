"""Biases make up for what rounding does to the mean of each output channel."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import RecordError
from graphquant_core.record import Record, format_record, parse_record
from graphquant_core.registry import load_registry
from graphquant_export.post_training import quantize_post_training
from graphquant_export.quantized.simulate import simulate
from graphquant_export.verification import verify

v1 = tf.compat.v1

RANDOM = np.random.default_rng(11)
X = RANDOM.gamma(1.5, size=(32, 8, 8, 6)).astype(np.float32)
RESULTS = ("first_result", "second_result", "y")


def _normal(*shape: int) -> np.ndarray:
    return (0.3 * RANDOM.normal(size=shape)).astype(np.float32)


def _model() -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 6], "x")
        y = tf.nn.conv2d(x, _normal(3, 3, 6, 8), 1, "SAME", name="first")
        y = tf.nn.relu(tf.nn.bias_add(y, _normal(8), name="first_result"))
        y = tf.nn.depthwise_conv2d(y, _normal(3, 3, 8, 1), [1, 1, 1, 1], "VALID", name="second")
        y = tf.nn.relu(tf.nn.bias_add(y, _normal(8), name="second_result"))
        y = tf.matmul(tf.reduce_mean(y, [1, 2]), _normal(8, 5), name="third")
        tf.nn.bias_add(y, _normal(5), name="y")
    return graph.as_graph_def()


MODEL = _model()
LAYERS = ("first", "second", "third")


def _clipped(values: np.ndarray, grid: object, axes: tuple[int, ...] = ()) -> tuple[float, float]:
    """A range that cuts off a lot, so that means move."""
    del grid, axes
    return min(float(np.quantile(values, 0.05)), 0.0), float(np.quantile(values, 0.95))


def _record(target: str = "ascend", *, correct_bias: bool = True) -> Record:
    return quantize_post_training(
        MODEL,
        ["y"],
        {"x": X},
        activation=_clipped,
        target=target,
        batch_size=len(X),
        equalize=False,
        correct_bias=correct_bias,
    )


def _means(graph_def: tf.compat.v1.GraphDef, names: list[str]) -> list[np.ndarray]:
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        values = session.run([f"{name}:0" for name in names], {"x:0": X})
    return [value.astype(np.float64).mean(axis=tuple(range(value.ndim - 1))) for value in values]


def test_the_mean_of_each_channel_is_that_of_the_float_model() -> None:
    """Within a few steps of its bias, as those before it are rounded, too; without, far from it."""
    wanted = _means(MODEL, list(RESULTS))
    distances = []
    for corrected in (True, False):
        record = _record(correct_bias=corrected)
        simulated = simulate(MODEL, ["y"], record)
        found = _means(simulated.graph_def, [layer.result for layer in simulated.layers])
        steps = [layer.scale for layer in simulated.layers]
        both = zip(found, wanted, steps, strict=True)
        distances.append([float(np.max(np.abs(a - b) / step)) for a, b, step in both])
    assert max(distances[0]) < 5
    assert min(distances[1]) > 100


@pytest.mark.parametrize("target", ["ascend", "litert", ("ascend", "litert")])
def test_a_record_that_amct_reads_holds_layers_alone(target: str | tuple[str, str]) -> None:
    """AMCT refuses a key that is no layer of the model, so that none is there unless asked for."""
    record = quantize_post_training(MODEL, ["y"], {"x": X}, target=target)
    corrected = [name for name, factors in record.items() if factors.bias_correction is not None]
    assert bool(corrected) == (target == "litert")


@pytest.mark.parametrize("target", ["ascend", "litert", "onnx", "mnn"])
def test_every_runtime_computes_with_the_corrected_biases(target: str, tmp_path: Path) -> None:
    """From the text of the record, the runtime returns the codes that are meant."""
    record = parse_record(format_record(_record(target)))
    assert all(record[layer].bias_correction is not None for layer in LAYERS)
    artifact = load_registry().exporter(target).export(MODEL, ["y"], record, tmp_path / "model")
    (output,) = verify(artifact, {"x": X}).outputs
    assert output.reference is not None
    assert output.reference.largest <= 1e-3


def test_corrections_are_entries_of_their_own_and_come_back() -> None:
    """A record is read as it was written; an entry for no layer of it is an error."""
    record = _record()
    text = format_record(record)
    assert 'key: "second:bias"' in text
    assert parse_record(text) == record
    with pytest.raises(RecordError, match='no layer "other"'):
        parse_record(text.replace('"first:bias"', '"other:bias"'))


@pytest.mark.parametrize(
    ("correction", "said"), [([1.0], "must have 8"), ([np.nan] * 8, "must be finite")]
)
def test_a_correction_that_does_not_fit_is_refused(correction: list[float], said: str) -> None:
    """One finite number for each output channel, or an error that names the layer."""
    record = _record(correct_bias=False)
    wrong = attrs.evolve(record["first"], bias_correction=correction)
    record = attrs.evolve(record, factors={**record, "first": wrong})
    with pytest.raises(RecordError, match=f'"first" {said}'):
        simulate(MODEL, ["y"], record)


def test_what_has_no_mean_is_not_corrected() -> None:
    """What falls below 0 by rounding has no logarithm, and what is behind it no mean."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 6], "x")
        y = tf.nn.conv2d(x, np.eye(6, dtype=np.float32)[None, None], 1, "SAME", name="first")
        y = tf.nn.relu(tf.nn.bias_add(y, np.zeros(6, np.float32)))
        y = tf.math.log(y - 5e-7)
        y = tf.nn.conv2d(y, _normal(1, 1, 6, 4), 1, "SAME", name="second")
        tf.nn.bias_add(y, _normal(4), name="y")
    samples = np.abs(X) + np.float32(1e-6)
    samples[0, 0, 0] = 1e-6
    record = quantize_post_training(
        graph.as_graph_def(), ["y"], {"x": samples}, correct_bias=True, equalize=False
    )
    assert record["first"].bias_correction is not None
    assert record["second"].bias_correction is None
