"""`quantize_post_training`: a float model and a few inputs become a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from graphquant_core.calibration import ifmr_range
from graphquant_core.exceptions import (
    ConfigError,
    ModelFileError,
    NoLayersError,
    NonFiniteError,
    RangeError,
    RecordError,
    UnknownNameError,
)
from graphquant_core.graph import plan_graph
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.grid import INT8
from graphquant_core.quantize import affine_params
from graphquant_core.record import validate_record
from graphquant_core.registry import load_registry
from graphquant_export.post_training import ESTIMATORS, quantize_post_training
from graphquant_export.targets.ascend import export_ascend
from graphquant_export.verification import verify

v1 = tf.compat.v1

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(24, 12, 12, 8)).astype(np.float32)


def _normal(*shape: int) -> npt.NDArray[np.float32]:
    return (0.3 * RANDOM.normal(size=shape)).astype(np.float32)


def _model() -> tf.compat.v1.GraphDef:
    """Conv2D, batch norm with gammas of both signs, depthwise, pooling, dense with a bias."""
    gamma = np.array([1, -0.5, 2, 0.25] * 4, np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 12, 12, 8], "images")
        y = tf.nn.conv2d(x, _normal(3, 3, 8, 16), 1, "SAME", name="conv")
        y, *_ = v1.nn.fused_batch_norm(
            y, gamma, _normal(16), _normal(16), 0.5 + np.abs(_normal(16)), is_training=False
        )
        y = tf.nn.relu(y, name="relu")
        y = tf.nn.depthwise_conv2d(y, _normal(3, 3, 16, 1), [1, 2, 2, 1], "SAME", name="depthwise")
        y = tf.nn.avg_pool2d(tf.nn.relu6(y), 2, 2, "VALID", name="pool")
        y = tf.matmul(tf.reshape(y, [-1, 144]), _normal(144, 10), name="dense")
        tf.nn.bias_add(y, _normal(10), name="logits")
    return graph.as_graph_def()


MODEL = _model()
LAYERS = ["conv", "depthwise", "pool", "dense"]


def _run(graph_def: tf.compat.v1.GraphDef, tensor: str, images: Any = IMAGES) -> Any:
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return session.run(tensor, {"images:0": images})


def _quantize(**options: Any) -> Any:
    return quantize_post_training(MODEL, ["logits"], {"images": IMAGES}, **options)


def test_every_layer_is_in_the_record_and_the_record_fits() -> None:
    """The record holds the layers of the plan, in its order, and passes the export's checks."""
    record = _quantize()
    assert list(record) == LAYERS
    validate_record(record, plan_graph(import_frozen(MODEL)))
    sizes = [None if f.scale_w is None else len(f.scale_w) for f in record.values()]
    assert sizes == [16, 16, None, 1]


@pytest.mark.parametrize("name", list(ESTIMATORS))
def test_the_exported_model_computes_what_the_float_model_does(tmp_path: Path, name: str) -> None:
    """With every estimator the integer graph has a signal-to-noise ratio above 25 dB."""
    record = _quantize(activation=name)
    export_ascend(MODEL, ["logits"], record, tmp_path / "model")
    content = (tmp_path / "model_quantized.pb").read_bytes()
    expected = _run(MODEL, "logits:0")
    found = _run(v1.GraphDef.FromString(content), "logits:0")
    noise = np.mean(np.square(found - expected)) / np.mean(np.square(expected))
    assert 0 < noise < 10**-2.5


def test_a_range_is_what_the_estimator_says_of_all_values() -> None:
    """Few values are all taken, whatever the batch size: the record holds IFMR's very factors."""
    values = IMAGES[:4]
    expected = affine_params(*ifmr_range(values, INT8), INT8)
    for batch_size in (1, 3, 4):
        record = quantize_post_training(
            MODEL, ["logits"], {"images": values}, activation="ifmr", batch_size=batch_size
        )
        assert record["conv"].scale_d == float(expected.scale)
        assert record["conv"].offset_d == int(expected.offset)


def test_min_max_holds_the_extremes_of_many_values() -> None:
    """However few of many values are sampled, the largest and the smallest are among them."""
    images = np.tile(IMAGES, (12, 1, 1, 1))
    images[77, 3, 3, 3], images[150, 1, 1, 1] = 31.5, -12.25
    record = quantize_post_training(MODEL, ["logits"], {"images": images}, activation="min_max")
    assert images.size > 2**17
    assert record["conv"].scale_d == pytest.approx((31.5 + 12.25) / 255, rel=1e-6)


def test_weight_scales_hold_the_folded_weight() -> None:
    """scale_w = max|w * gamma / sqrt(var + eps)| / 127, by float64 from the nodes of the model."""
    record = _quantize(equalize=False)
    consts = {
        n.name: tf.make_ndarray(n.attr["value"].tensor) for n in MODEL.node if n.op == "Const"
    }
    nodes = {node.name: node for node in MODEL.node}
    norm = next(node for node in MODEL.node if node.op.startswith("FusedBatchNorm"))
    gamma, variance = (consts[norm.input[port]].astype(np.float64) for port in (1, 4))
    factor = gamma / np.sqrt(variance + norm.attr["epsilon"].f)
    weight = consts[nodes["conv"].input[1]] * factor
    np.testing.assert_allclose(
        record["conv"].scale_w, np.abs(weight).max(axis=(0, 1, 2)) / 127, rtol=1e-6
    )
    dense = consts[nodes["dense"].input[1]]
    np.testing.assert_allclose(record["dense"].scale_w, [np.abs(dense).max() / 127], rtol=1e-6)


def test_a_bias_that_int32_could_not_hold_widens_the_scale(tmp_path: Path) -> None:
    """A channel of tiny weights with a large bias is exported, and its bias is right."""
    weight = np.full((4, 2), 2e-5, np.float32)
    weight[:, 1] = 1
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 1, 1, 4], "images")
        y = tf.nn.conv2d(x, weight.reshape(1, 1, 4, 2), 1, "SAME", name="conv")
        tf.nn.bias_add(y, [3e3, 1.0], name="logits")
    model, images = graph.as_graph_def(), np.full((2, 1, 1, 4), 1e-3, np.float32)
    record = quantize_post_training(model, ["logits"], {"images": images})
    export_ascend(model, ["logits"], record, tmp_path / "model")
    deployed = v1.GraphDef.FromString((tmp_path / "model_quantized.pb").read_bytes())
    np.testing.assert_allclose(
        _run(deployed, "logits:0", images), _run(model, "logits:0", images), rtol=1e-2
    )


def test_layers_with_one_input_have_one_range() -> None:
    """Two layers that take the same tensor get the same scale and offset."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6], "images")
        tf.add(
            tf.matmul(x, _normal(6, 3), name="a"), tf.matmul(x, _normal(6, 3), name="b"), name="sum"
        )
    images = RANDOM.normal(size=(8, 6)).astype(np.float32)
    record = quantize_post_training(graph.as_graph_def(), ["sum"], {"images": images})
    assert record["a"].scale_d == record["b"].scale_d
    assert record["a"].offset_d == record["b"].offset_d


def test_the_same_input_gives_the_same_record() -> None:
    """Nothing depends on chance, and the sampled values don't either."""
    images = np.tile(IMAGES, (10, 1, 1, 1))
    first, second = (
        quantize_post_training(MODEL, ["logits"], {"images": images}) for _ in range(2)
    )
    assert first == second


def test_skipped_layers_stay_float() -> None:
    """Names and patterns are left out; a pattern that fits no layer is an error."""
    assert list(_quantize(skip_layers=["d*"])) == ["conv", "pool"]
    with pytest.raises(UnknownNameError, match='did you mean "conv"'):
        _quantize(skip_layers=["convv"])
    with pytest.raises(NoLayersError, match="all 4 layers"):
        _quantize(skip_layers=["*"])


def test_a_layer_in_a_loop_is_left_out() -> None:
    """What the export would refuse isn't in the record."""
    with tf.Graph().as_default() as graph:
        v1.disable_control_flow_v2()
        try:
            x = v1.placeholder(tf.float32, [None, 6], "images")
            y = tf.matmul(x, _normal(6, 6), name="first")
            weight = tf.constant(_normal(6, 6))
            body = lambda i, y: (i + 1, tf.matmul(y, weight, name="looped"))  # noqa: E731
            tf.identity(tf.while_loop(lambda i, _: i < 2, body, (0, y))[1], name="out")
        finally:
            v1.enable_control_flow_v2()
    images = RANDOM.normal(size=(8, 6)).astype(np.float32)
    assert list(quantize_post_training(graph.as_graph_def(), ["out"], {"images": images})) == [
        "first"
    ]


def test_progress_is_reported_after_each_batch() -> None:
    """The callback hears how many samples are done, of how many."""
    heard: list[tuple[int, int]] = []
    _quantize(batch_size=10, progress=lambda *done: heard.append(done))
    assert heard == [(10, 24), (20, 24), (24, 24)]


def test_what_does_not_fit_is_refused() -> None:
    """Wrong names, shapes and values each are one error that names what is wrong."""
    with pytest.raises(ConfigError, match='did you mean "images"'):
        quantize_post_training(MODEL, ["logits"], {"image": IMAGES})
    with pytest.raises(NonFiniteError):
        quantize_post_training(MODEL, ["logits"], {"images": IMAGES * np.float32(np.nan)})
    with pytest.raises(NonFiniteError, match="activation"):
        quantize_post_training(MODEL, ["logits"], {"images": IMAGES * np.float32(6e37)})
    with pytest.raises(UnknownNameError, match='did you mean "ifmr"'):
        _quantize(activation="imfr")
    with pytest.raises(ConfigError, match="must be a list"):
        _quantize(skip_layers="conv")
    with pytest.raises(RangeError, match=r'^calibration: the value of "images"'):
        quantize_post_training(MODEL, ["logits"], {"images": IMAGES[:, :4]})
    with pytest.raises(ConfigError, match=r"^calibration .list. must map"):
        quantize_post_training(MODEL, ["logits"], [IMAGES])  # type: ignore[arg-type]


def test_one_nan_is_found_wherever_it_is() -> None:
    """Among more values than are looked at, and where the ends are finite."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 64, 64, 16], "images")
        weight = np.ones((1, 1, 16, 4), np.float32)
        tf.nn.conv2d(tf.sqrt(x), weight, 1, "SAME", name="conv")
    images = np.random.default_rng(0).uniform(1, 2, (8, 64, 64, 16)).astype(np.float32)
    quantize_post_training(graph.as_graph_def(), ["conv"], {"images": images})
    images[3, 20, 30, 5] = -1
    with pytest.raises(NonFiniteError, match="activation"):
        quantize_post_training(graph.as_graph_def(), ["conv"], {"images": images})


def test_samples_without_content_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A range of nothing but zeros is a guess; one warning names the first layer."""
    _quantize()
    assert caplog.messages == []
    quantize_post_training(MODEL, ["logits"], {"images": np.zeros_like(IMAGES)})
    (message,) = caplog.messages
    assert message.startswith('what layer "conv" takes is zero for every calibration sample')


def test_samples_that_tensorflow_fails_on_are_described_in_one_line() -> None:
    """Two inputs of different lengths: the shapes that were fed, and what TensorFlow says."""
    with tf.Graph().as_default() as graph:
        names = ("left", "right")
        left, right = (v1.placeholder(tf.float32, [None, 6], name) for name in names)
        tf.matmul(tf.concat([left, right], 1), _normal(12, 6), name="out")
    feeds = {"left": IMAGES[:4, 0, 0, :6], "right": IMAGES[:3, 0, 0, :6]}
    with pytest.raises(ModelFileError, match=r'"left" \[4, 6\], "right" \[3, 6\]') as raised:
        quantize_post_training(graph.as_graph_def(), ["out"], feeds)
    assert str(raised.value).startswith("calibration: TensorFlow cannot run the model")
    assert "\n" not in str(raised.value)


def test_a_model_that_was_trained_for_quantisation_has_a_record_already(tmp_path: Path) -> None:
    """A frozen graph with the toolkit's fake quantisers is refused."""
    amct = pytest.importorskip("graphquant_qat")
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6], "images")
        tf.matmul(x, v1.get_variable("weight", [6, 3]), name="dense")
    amct.create_quant_retrain_config(str(tmp_path / "c.json"), graph)
    amct.create_quant_retrain_model(graph, str(tmp_path / "c.json"), str(tmp_path / "r.txt"))
    with graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        model = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["dense"]
        )
    with pytest.raises(RecordError, match="was trained with fake quantisers"):
        quantize_post_training(model, ["dense"], {"images": np.ones((2, 6), np.float32)})


@pytest.mark.parametrize("target", ["onnx", "litert", "mnn"])
def test_a_record_for_a_target_needs_no_calibration(target, tmp_path):
    """The ranges of what the target rounds are estimated at the same places, by one estimator."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 8, 8, 3], "x")
        random = np.random.default_rng(0)

        def conv(y, name):
            shape = [3, 3, int(y.shape[-1]), 8]
            weight = random.normal(0, 0.2, shape).astype(np.float32)
            return tf.nn.relu(tf.nn.conv2d(y, weight, 1, "SAME", name=name))

        y = conv(x, "c1")
        y = y + conv(conv(y, "c2"), "c3")
        tf.identity(conv(y, "c4"), name="y")
    model = graph.as_graph_def()
    feeds = {"x": random.normal(size=(32, 8, 8, 3)).astype(np.float32)}
    record = quantize_post_training(model, ["y"], feeds, target=target)
    # One tensor is rounded once, on the grid of the layer that takes it.
    assert record.value_grids["Relu:0"] == record["c2"].activation_grid
    exporter = load_registry().exporter(target)
    artifact = exporter.export(model, ["y"], record, tmp_path / "m")
    assert {row.execution for row in exporter.runtime(artifact).executions()} == {"int8"}
    assert verify(artifact, feeds, layers=True).ok()
    several = quantize_post_training(model, ["y"], feeds, target=["ascend", target])
    assert several == record


def test_an_unknown_target_is_named():
    """Before anything is computed."""
    with pytest.raises(UnknownNameError, match='did you mean "onnx"'):
        quantize_post_training(v1.GraphDef(), ["y"], {}, target="onxx")


def test_a_range_does_not_depend_on_the_size_of_a_batch():
    """The rarest values are as rare in many small batches as in one: percentile and mse agree."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 32, 32, 4], "x")
        tf.identity(tf.nn.conv2d(x, np.ones((1, 1, 4, 1), np.float32), 1, "SAME", name="c"), "y")
    model = graph.as_graph_def()
    values = np.random.default_rng(0).standard_t(5, (128, 32, 32, 4)).astype(np.float32)
    wanted = np.quantile(values, [1e-4, 1 - 1e-4])
    for estimator in ("percentile", "mse", "ifmr"):
        ends = []
        for batch_size in (1, 16, 128):
            record = quantize_post_training(
                model, ["y"], {"x": values}, activation=estimator, batch_size=batch_size
            )
            ends.append(record["c"].activation_grid.ends)
        np.testing.assert_allclose(ends[:2], [ends[2]] * 2, rtol=0.2)
        if estimator == "percentile":
            np.testing.assert_allclose(ends, [wanted] * 3, rtol=0.2)
