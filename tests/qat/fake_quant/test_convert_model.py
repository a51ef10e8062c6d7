"""A user's model with TensorFlow's fake quantisers, deployed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.exceptions import (
    BitsError,
    FileWriteError,
    GraphQuantError,
    ModelFileError,
    NoLayersError,
    NonFiniteError,
    OutputNotFoundError,
    RangeError,
    UncalibratedError,
)
from graphquant_core.graph.frozen import load_graph_def
from graphquant_core.record import read_record
from graphquant_export.integer_reference import integer_reference
from graphquant_export.targets.ascend import quantize_graph

v1 = tf.compat.v1
fq = tf.quantization.fake_quant_with_min_max_vars
fq_per_channel = tf.quantization.fake_quant_with_min_max_vars_per_channel


def value(*shape: int, low: float | None = None) -> np.ndarray:
    random = np.random.default_rng(sum(shape) + len(shape))
    drawn = random.normal(0, 0.3, shape) if low is None else random.uniform(low, 2, shape)
    return drawn.astype(np.float32)


def per_tensor(w: np.ndarray) -> tf.Tensor:
    reach = float(np.abs(w).max())
    return fq(w, -reach, reach, narrow_range=True)


def last_axis(w: Any) -> tf.Tensor:
    array = tf.get_static_value(w) if tf.is_tensor(w) else w
    reach = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
    return fq_per_channel(w, -reach, reach, narrow_range=True)


def bias(y: tf.Tensor, layout: str = "NHWC") -> tf.Tensor:
    channels = int(y.shape[layout.index("C") if y.shape.rank == 4 else 1])
    return tf.nn.bias_add(y, value(channels), layout if y.shape.rank == 4 else None)


def normalised(y: tf.Tensor, layout: str = "NHWC") -> tf.Tensor:
    count = int(y.shape[layout.index("C")])
    gamma = value(count, low=0.5) * np.where(np.arange(count) % 2, -1, 1)
    parts = gamma.astype(np.float32), value(count), value(count), value(count, low=0.5)
    return v1.nn.fused_batch_norm(y, *parts, data_format=layout, is_training=False)[0]


def conv(x: tf.Tensor, w: tf.Tensor, name: str = "s/layer", **options: Any) -> tf.Tensor:
    return tf.nn.conv2d(x, w, 1, "SAME", name=name, **options)


def per_channel_depthwise(x: tf.Tensor) -> tf.Tensor:
    w = tf.reshape(last_axis(tf.constant(value(3, 3, 4, 2).reshape(3, 3, 1, 8))), [3, 3, 4, 2])
    x = fq(x, -2.0, 2.1)
    y = v1.nn.depthwise_conv2d_native(x, w, [1, 1, 1, 1], "SAME", name="s/layer")
    return normalised(y)


def per_multiplier_depthwise(x: tf.Tensor) -> tf.Tensor:
    w = last_axis(value(3, 3, 4, 2))
    x = fq(x, -2.0, 2.1)
    return bias(v1.nn.depthwise_conv2d_native(x, w, [1, 1, 1, 1], "SAME", name="s/layer"))


def transposed(x: tf.Tensor) -> tf.Tensor:
    w = tf.transpose(last_axis(value(3, 3, 4, 6)), [0, 1, 3, 2])
    y = tf.nn.conv2d_transpose(fq(x, -2.0, 2.1), w, [4, 12, 12, 6], 2, name="s/layer")
    return normalised(y)


def dense(x: tf.Tensor) -> tf.Tensor:
    x = tf.reshape(fq(x, -2.0, 2.1), [4, 144])
    return bias(tf.matmul(x, per_tensor(value(144, 5)), name="s/layer"))


def pooled(x: tf.Tensor) -> tf.Tensor:
    x = tf.quantization.fake_quant_with_min_max_args(x, -2.0, 2.1)
    return tf.nn.avg_pool2d(x, 2, 2, "VALID", name="s/layer")


def grouped(x: tf.Tensor) -> tf.Tensor:
    parts = tf.split(fq(x, -2.0, 2.1), 2, axis=3)
    done = [
        bias(conv(part, last_axis(value(3, 3, 2, 3 + i)), f"s/layer{i}"))
        for i, part in enumerate(parts)
    ]
    return tf.concat(done, 3)


ONE_LAYER: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "conv per tensor": lambda x: bias(conv(fq(x, -2.0, 2.1), per_tensor(value(3, 3, 4, 5)))),
    "conv per channel, batch norm": lambda x: normalised(
        conv(fq(x, -2.0, 2.1), last_axis(value(3, 3, 4, 5)))
    ),
    "conv per tensor, batch norm": lambda x: normalised(
        conv(fq(x, -2.0, 2.1), per_tensor(value(3, 3, 4, 5)))
    ),
    "conv, 4 bit weight by args": lambda x: conv(
        fq(x, -2.0, 2.1),
        tf.quantization.fake_quant_with_min_max_args(
            value(3, 3, 4, 5), -0.7, 0.7, num_bits=4, narrow_range=True
        ),
    ),
    "range above zero": lambda x: conv(fq(x + 3, 0.5, 3.0), last_axis(value(3, 3, 4, 5))),
    "identities": lambda x: conv(
        tf.identity(fq(x, 0.0, 2.1)), tf.identity(last_axis(value(3, 3, 4, 5)))
    ),
    "pad and max pool between": lambda x: conv(
        tf.pad(tf.nn.max_pool2d(fq(x, -2.0, 2.1), 2, 2, "SAME"), [[0, 0], [1, 1], [2, 0], [0, 0]]),
        per_tensor(value(3, 3, 4, 5)),
    ),
    "dilated by space-to-batch": lambda x: tf.batch_to_space(
        tf.nn.conv2d(
            tf.space_to_batch(fq(x, -2.0, 2.1), [2, 2], [[2, 2], [2, 2]]),
            last_axis(value(3, 3, 4, 5)),
            1,
            "VALID",
            name="s/layer",
        ),
        [2, 2],
        [[0, 0], [0, 0]],
    ),
    "depthwise per channel": per_channel_depthwise,
    "depthwise per multiplier": per_multiplier_depthwise,
    "transposed convolution": transposed,
    "dense": dense,
    "average pooling": pooled,
    "groups": grouped,
}


@attrs.frozen(eq=False)
class Converted:
    """A user's model and what became of it."""

    graph_def: Any
    quantized: Any
    record: Any
    outputs: list[str]


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., Converted]:
    """Builds ``y = build(x)``, freezes it and converts it."""

    def run(
        build: Callable[[tf.Tensor], tf.Tensor],
        shape: tuple[int, ...] = (4, 6, 6, 4),
        outputs: tuple[str, ...] = ("y",),
    ) -> Converted:
        with tf.Graph().as_default() as graph:
            tf.identity(build(v1.placeholder(tf.float32, shape, "x")), name="y")
        pb, record_file = tmp_path / "user.pb", tmp_path / "record.txt"
        pb.write_bytes(graph.as_graph_def().SerializeToString())
        names = amct.convert_qat_model(
            str(pb), list(outputs), str(tmp_path / "model"), str(record_file)
        )
        quantized = load_graph_def(tmp_path / "model_quantized.pb")
        return Converted(graph.as_graph_def(), quantized, read_record(record_file), names)

    return run


def run_graph(graph_def: Any, x: np.ndarray, output: str = "y:0") -> np.ndarray:
    with tf.Graph().as_default(), v1.Session() as session:
        (tensor,) = tf.import_graph_def(graph_def, return_elements=[output], name="")
        return session.run(tensor, {"x:0": x})


def data(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(0, 1, shape).astype(np.float32)


def types(graph_def: Any) -> list[str]:
    return [node.op for node in graph_def.node]


def steps_of_result(converted: Converted) -> float:
    """Largest step of a result: scale_d * scale_w."""
    return max(
        factors.scale_d * (1 if factors.scale_w is None else factors.scale_w.max())
        for factors in converted.record.values()
    )


@pytest.mark.parametrize("name", ONE_LAYER)
def test_a_layer_computes_what_the_users_model_computes(
    convert: Callable[..., Converted], name: str
) -> None:
    """They differ by the rounding of the bias: half a step of the int32 sums; no tie is near."""
    converted = convert(ONE_LAYER[name])
    x = data(4, 6, 6, 4)
    expected = run_graph(converted.graph_def, x)
    found = run_graph(converted.quantized, x)
    tolerance = 0.51 * steps_of_result(converted) + 2e-6 * np.abs(expected).max()
    assert np.abs(found - expected).max() <= tolerance
    (exact,) = integer_reference(converted.quantized, ["y"], {"x": x})
    np.testing.assert_array_equal(found, exact)
    assert not any(kind.startswith("FakeQuant") for kind in types(converted.quantized))
    assert types(converted.quantized).count("AscendDequant") == 1
    assert converted.outputs == ["y"]


@pytest.mark.parametrize("tail", [bias, normalised])
def test_nchw_computes_what_the_users_model_computes(
    convert: Callable[..., Converted], tail: Callable[..., tf.Tensor]
) -> None:
    """A convolution and a depthwise one in NCHW, each between fake quantisers."""

    def build(x: tf.Tensor) -> tf.Tensor:
        w = last_axis(value(3, 3, 4, 6))
        y = tail(conv(fq(x, -2.0, 2.1), w, "s/conv", data_format="NCHW"), "NCHW")
        y = fq(tf.nn.relu(y), 0.0, 3.0)
        w = tf.reshape(last_axis(tf.constant(value(3, 3, 1, 6))), [3, 3, 6, 1])
        return tail(
            v1.nn.depthwise_conv2d_native(
                y, w, [1, 1, 1, 1], "SAME", data_format="NCHW", name="s/depthwise"
            ),
            "NCHW",
        )

    converted = convert(build, (4, 4, 6, 6))
    x = data(4, 4, 6, 6)
    expected, found = (run_graph(g, x) for g in (converted.graph_def, converted.quantized))
    error = np.abs(found - expected)
    assert error.max() < 0.02 * np.ptp(expected)
    assert np.median(error) < 1e-3 * np.ptp(expected)
    assert not any(kind.startswith("FakeQuant") for kind in types(converted.quantized))
    assert [len(f.scale_w) for f in converted.record.values()] == [6, 6]


def test_the_scales_are_those_of_the_kernel(convert: Callable[..., Converted]) -> None:
    """scale_d and offset_d are nudged, scale_w is the range / 254 times |gamma| / sigma."""
    converted = convert(ONE_LAYER["conv per channel, batch norm"])
    factors = converted.record["s/layer"]
    assert factors.scale_d == np.float32(4.1) / np.float32(255)
    assert factors.offset_d == -128 + round(2.0 / factors.scale_d)
    w = value(3, 3, 4, 5)
    factor = value(5, low=0.5) / np.sqrt(value(5, low=0.5).astype(np.float64) + 1e-3)
    np.testing.assert_allclose(
        factors.scale_w, np.abs(w).max(axis=(0, 1, 2)) / 127 * factor, rtol=1e-5
    )


def test_the_record_and_the_float_weights_give_the_same_model(
    convert: Callable[..., Converted],
) -> None:
    """The written record belongs to the user's model: exporting with it gives the same nodes."""
    converted = convert(ONE_LAYER["conv per tensor"])
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [4, 6, 6, 4], "x")
        tf.identity(bias(conv(x, value(3, 3, 4, 5))), name="y")
    again, _ = quantize_graph(graph.as_graph_def(), ["y"], converted.record)
    x = data(4, 6, 6, 4)
    np.testing.assert_array_equal(run_graph(again, x), run_graph(converted.quantized, x))


def test_a_fake_quantiser_with_other_consumers_stays_for_them(
    convert: Callable[..., Converted],
) -> None:
    """A residual sum takes the fake-quantised value; the layer beside it takes integers."""

    def build(x: tf.Tensor) -> tf.Tensor:
        quantised = fq(x, -2.0, 2.1, name="quantised")
        return conv(quantised, last_axis(value(3, 3, 4, 4))) + quantised

    converted = convert(build)
    nodes = {node.name: node for node in converted.quantized.node}
    assert nodes["s/act_quant/AscendQuant"].input[0] == "x"
    assert nodes["quantised"].op == "FakeQuantWithMinMaxVars"
    x = data(4, 6, 6, 4)
    expected = run_graph(converted.graph_def, x)
    np.testing.assert_allclose(run_graph(converted.quantized, x), expected, atol=1e-5)


def test_a_fake_quantiser_before_another_op_stays_for_it(
    convert: Callable[..., Converted],
) -> None:
    """Relu and another fake quantiser behind it still see fake-quantised values."""

    def build(x: tf.Tensor) -> tf.Tensor:
        quantised = fq(x, -1.0, 0.2, name="quantised")
        first = conv(quantised, last_axis(value(3, 3, 4, 4)), "s/first")
        second = fq(tf.nn.relu(quantised), 0.0, 3.0)
        return tf.concat([first, conv(second, last_axis(value(3, 3, 4, 4)), "s/second")], 3)

    converted = convert(build)
    assert len(converted.record) == 2
    x = data(4, 6, 6, 4)
    expected = run_graph(converted.graph_def, x)
    np.testing.assert_allclose(run_graph(converted.quantized, x), expected, atol=1e-5)


def test_outputs_before_a_layer_keep_fake_quantised_values(
    convert: Callable[..., Converted],
) -> None:
    """A fake quantiser and a pooling behind it are outputs, while the layer takes integers."""

    def build(x: tf.Tensor) -> tf.Tensor:
        pooled = tf.nn.max_pool2d(fq(x, -2.0, 2.1, name="quantised"), 2, 2, "SAME", name="pooled")
        return conv(pooled, last_axis(value(3, 3, 4, 4)))

    converted = convert(build, outputs=("y", "quantised", "pooled"))
    x = data(4, 6, 6, 4)
    for output in ("y:0", "quantised:0", "pooled:0"):
        expected = run_graph(converted.graph_def, x, output)
        found = run_graph(converted.quantized, x, output)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_output_between_layer_and_batch_norm_keeps_its_value(
    convert: Callable[..., Converted],
) -> None:
    """What stands behind an output isn't folded, so that the scales hold for both."""

    def build(x: tf.Tensor) -> tf.Tensor:
        y = conv(fq(x, -2.0, 2.1), last_axis(value(3, 3, 4, 5)))
        return normalised(tf.nn.bias_add(y, value(5), name="before"))

    converted = convert(build, outputs=("y", "before"))
    x = data(4, 6, 6, 4)
    for output in ("y:0", "before:0"):
        expected = run_graph(converted.graph_def, x, output)
        found = run_graph(converted.quantized, x, output)
        assert np.abs(found - expected).max() < 1e-3 * np.ptp(expected)


def test_who_waited_for_a_fake_quantiser_waits_for_its_input(
    convert: Callable[..., Converted],
) -> None:
    """A control edge from a fake quantiser that is gone moves to the op before it."""

    def build(x: tf.Tensor) -> tf.Tensor:
        quantised = fq(tf.nn.relu(x, name="before"), 0.0, 2.1, name="quantised")
        with tf.control_dependencies([quantised]):
            waits = tf.nn.relu(x, name="waits")
        return tf.concat([conv(quantised, last_axis(value(3, 3, 4, 4))), waits], 3)

    nodes = {node.name: node for node in convert(build).quantized.node}
    assert "quantised" not in nodes
    assert "^before" in nodes["waits"].input


def test_a_fake_quantiser_behind_the_last_layer_stays(convert: Callable[..., Converted]) -> None:
    """What quantises a result for no other layer is part of the model's values."""
    converted = convert(
        lambda x: fq(ONE_LAYER["conv per tensor"](x), -1.0, 1.0, num_bits=4, name="result")
    )
    assert types(converted.quantized).count("FakeQuantWithMinMaxVars") == 1
    x = data(4, 6, 6, 4)
    expected, found = (run_graph(g, x) for g in (converted.graph_def, converted.quantized))
    assert (np.abs(found - expected) > 1e-5).mean() < 0.01


def test_layers_without_both_stay_float_and_are_named(
    convert: Callable[..., Converted], caplog: pytest.LogCaptureFixture
) -> None:
    """One warning counts them and names three; a line at level INFO has each with its reason."""

    def build(x: tf.Tensor) -> tf.Tensor:
        w = value(3, 3, 4, 4)
        y = conv(fq(x, -2.0, 2.1), last_axis(w), "deployed")
        y = conv(tf.nn.relu(y), last_axis(w), "float_input")
        y = conv(fq(y, -2.0, 2.1), w, "float_weight")
        y = conv(fq_per_channel(y, [-1.0] * 4, [1.0] * 4), last_axis(w), "channels")
        top = tf.reduce_max(tf.abs(y))
        return conv(fq(y, -top, top), last_axis(w), "dynamic")

    with caplog.at_level(logging.INFO):
        converted = convert(build)
    assert list(converted.record) == ["deployed"]
    (warning,) = (entry.getMessage() for entry in caplog.records if entry.levelname == "WARNING")
    assert warning.startswith('4 of 5 layers stay float: "float_input" (Conv2D): its activation')
    assert '"channels" (Conv2D): ' in warning
    for name, reason in [
        ("float_input", "activation comes out of no fake quantiser"),
        ("float_weight", "weight comes out of no fake quantiser"),
        ("channels", "one range per channel"),
        ("dynamic", "depends on the inputs"),
    ]:
        assert any(f'"{name}"' in line and reason in line for line in caplog.messages)
    x = data(4, 6, 6, 4)
    expected, found = (run_graph(g, x) for g in (converted.graph_def, converted.quantized))
    assert np.median(np.abs(found - expected)) < 1e-2 * np.ptp(expected)


def test_an_asymmetric_weight_is_quantised_again_and_measured(
    convert: Callable[..., Converted], caplog: pytest.LogCaptureFixture
) -> None:
    """The warning has the layer, the node and the largest distance; results stay close."""
    w = value(3, 3, 4, 5) + np.float32(0.4)

    def build(x: tf.Tensor) -> tf.Tensor:
        return conv(fq(x, -2.0, 2.1), fq(w, w.min(), w.max(), name="skewed"))

    with caplog.at_level(logging.WARNING):
        converted = convert(build)
    (line,) = (line for line in caplog.messages if "not symmetric" in line)
    assert '"s/layer"' in line
    assert '"skewed"' in line
    step = (w.max() - w.min()) / 255
    scale = np.broadcast_to(converted.record["s/layer"].scale_w, 5)
    assert 0 < float(line.split("up to ")[1].split(" ")[0]) <= 0.51 * scale.max() / step
    x = data(4, 6, 6, 4)
    expected, found = (run_graph(g, x) for g in (converted.graph_def, converted.quantized))
    assert np.abs(found - expected).max() < 0.02 * np.ptp(expected)


def test_a_narrow_activation_is_told(
    convert: Callable[..., Converted], caplog: pytest.LogCaptureFixture
) -> None:
    """Behind Relu, where nothing lies below the range, the result is that of the user's model."""
    with caplog.at_level(logging.WARNING):
        converted = convert(
            lambda x: conv(
                fq(tf.nn.relu(x), 0.0, 2.1, narrow_range=True), last_axis(value(3, 3, 4, 5))
            )
        )
    assert any("narrow_range" in line for line in caplog.messages)
    x = data(4, 6, 6, 4)
    expected = run_graph(converted.graph_def, x)
    np.testing.assert_allclose(run_graph(converted.quantized, x), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda x: conv(fq(x, -1.0, 1.0, num_bits=4, name="q"), per_tensor(value(1, 1, 4, 2))),
            BitsError,
            r'"q".*num_bits \(4\) must be 8',
        ),
        (
            lambda x: conv(fq(x, -1.0, 1.0), fq(value(1, 1, 4, 2), -1.0, 1.0, 16, name="w")),
            BitsError,
            r'"w".*num_bits \(16\) must be 2 to 8',
        ),
        (
            lambda x: conv(fq(x, 0.0, 0.0, name="q"), per_tensor(value(1, 1, 4, 2))),
            UncalibratedError,
            r'"q".*0\.0 to 0\.0',
        ),
        (
            lambda x: conv(fq(x, 1.0, -1.0, name="q"), per_tensor(value(1, 1, 4, 2))),
            RangeError,
            r'"q".*min \(1\.0\) must be below max \(-1\.0\)',
        ),
        (
            lambda x: conv(fq(x, 0.0, np.inf, name="q"), per_tensor(value(1, 1, 4, 2))),
            NonFiniteError,
            '"q".*infinite',
        ),
        (
            lambda x: conv(x, value(1, 1, 4, 2)),
            NoLayersError,
            'no layer.*"s/layer" .*no fake quantiser',
        ),
        (lambda x: x, NoLayersError, "no layer"),
    ],
)
def test_what_cannot_be_expressed_is_refused(
    convert: Callable[..., Converted],
    tmp_path: Path,
    build: Callable[[tf.Tensor], tf.Tensor],
    error: type[GraphQuantError],
    message: str,
) -> None:
    """The error names the node, its value and what is allowed; nothing is written."""
    with pytest.raises(error, match=message):
        convert(build, (1, 3, 3, 4))
    assert [path.name for path in tmp_path.iterdir()] == ["user.pb"]


def test_wrong_arguments_are_refused(journey: Any, tmp_path: Path) -> None:
    """A missing file, an unknown output, a path that can't be written, a model of our own."""
    model = str(tmp_path / "model")
    with pytest.raises(ModelFileError, match=r"pb_model \(missing.pb\)"):
        amct.convert_qat_model("missing.pb", ["y"], model)
    with pytest.raises(OutputNotFoundError, match='did you mean "prob"'):
        amct.convert_qat_model(journey.frozen, ["probs"], model)
    with pytest.raises(FileWriteError, match="save_path"):
        amct.convert_qat_model(journey.frozen, ["prob"], f"{tmp_path}/")
    with pytest.raises(FileWriteError, match="record_file"):
        amct.convert_qat_model(journey.frozen, ["prob"], model, str(tmp_path))
    with pytest.raises(ModelFileError, match="save_quant_retrain_model"):
        amct.convert_qat_model(journey.frozen, ["prob"], model)
    assert list(tmp_path.iterdir()) == []


def test_the_record_is_optional_and_outputs_may_have_an_index(
    convert: Callable[..., Converted], tmp_path: Path
) -> None:
    """Without record_file two files are written; ``y:0`` names the op y, once."""
    convert(ONE_LAYER["dense"])
    names = amct.convert_qat_model(
        tmp_path / "user.pb", ("y:0", "y"), save_path=tmp_path / "new" / "m"
    )
    assert names == ["y"]
    written = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert written == ["m_deploy.pb", "m_quantized.pb"]
    assert (tmp_path / "new" / "m_quantized.pb").read_bytes() == (
        tmp_path / "model_quantized.pb"
    ).read_bytes()
