"""Whole graphs in LiteRT beside their exact integers, layer by layer."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph import GraphView, affine_tail, plan_graph
from graphquant_core.graph.frozen.fold_batch_norm import folds, parameters
from graphquant_core.record import LayerFactors, Record
from graphquant_export.integer_reference import integer_reference
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.litert import LiteRtRuntime, export_litert
from graphquant_export.targets.litert.file import LiteRtFile

pytest.importorskip("ai_edge_litert", reason='needs pip install "graphquant-export[litert]"')
v1 = tf.compat.v1


class Net:
    """Draws weights, and keeps the graph that is built with them."""

    def __init__(self, shape, seed=0):
        self.rng = np.random.default_rng(seed)
        self.graph = tf.Graph()
        self.feeds = {"x": self.rng.normal(0, 1, shape).astype(np.float32)}
        with self.graph.as_default():
            self.x = v1.placeholder(tf.float32, [None, *shape[1:]], name="x")

    def weight(self, *shape):
        return self.rng.normal(0, 1.5 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)

    def norm(self, y, data_format="NHWC"):
        channels = y.shape[1 if data_format == "NCHW" else 3]
        gamma = self.rng.choice([-1, 1], channels) * self.rng.uniform(0.5, 1.5, channels)
        parts = [gamma, *self.rng.normal(0, 0.3, (2, channels)), self.rng.uniform(0.5, 2, channels)]
        parts = [part.astype(np.float32) for part in parts]
        return v1.nn.fused_batch_norm(y, *parts, is_training=False, data_format=data_format)[0]

    def record(self):
        """Ranges of `feeds`, weight scales of the largest folded weight of each channel."""
        view, found = GraphView(self.graph), {}
        with v1.Session(graph=self.graph) as session:
            for layer in plan_graph(self.graph).layers:
                op = self.graph.get_operation_by_name(layer.name)
                x = session.run(op.inputs[layer.activation_port], {"x:0": self.feeds["x"]})
                low, high = min(0.0, x.min()), max(0.0, x.max())
                scale = (high - low) / 255
                offset = int(np.clip(np.rint(-128 - low / scale), -128, 127))
                if layer.weight_port is None:
                    found[layer.name] = LayerFactors(scale, offset)
                    continue
                channels = layer.output_channels
                tail = affine_tail(view, op.outputs[0], layer.output_channel_axis, channels)
                tensors = {tensor.name: tensor for tensor in parameters(tail)}
                values = {name: session.run(tensor) for name, tensor in tensors.items()}
                factor = folds(tail, values, channels)[-1].factor
                weight = session.run(op.inputs[layer.weight_port])
                axes = layer.weight_channel_axes
                others = tuple(axis for axis in range(weight.ndim) if axis not in axes)
                largest = np.abs(weight).max(axis=others).reshape(-1) * np.abs(factor)
                found[layer.name] = LayerFactors(scale, offset, largest / 127)
        return Record(found)


def stem(net):
    """Strides, SAME and VALID, ReLU6, pooling, explicit Pad and padding."""
    y = tf.nn.relu6(net.norm(tf.nn.conv2d(net.x, net.weight(3, 3, 3, 8), 2, "SAME", name="c1")))
    y = tf.nn.max_pool2d(y, 2, 2, "SAME")
    y = tf.pad(y, [[0, 0], [1, 1], [0, 2], [0, 0]])
    y = tf.nn.relu(net.norm(tf.nn.conv2d(y, net.weight(3, 3, 8, 8), 1, "VALID", name="c2")))
    explicit = [[0, 0], [1, 0], [0, 2], [0, 0]]
    y = tf.nn.relu(tf.nn.conv2d(y, net.weight(3, 3, 8, 8), [2, 1], explicit, name="c3"))
    y = tf.nn.avg_pool2d(y, [2, 3], [2, 3], "VALID", name="pool")
    y = tf.nn.conv2d(y, net.weight(1, 1, 8, 6), 1, "SAME", name="c4")
    return tf.nn.bias_add(y, np.zeros(6, np.float32))


def depthwise(net):
    """A channel multiplier, dilation, one input channel, and an average over the whole image."""
    y = v1.nn.depthwise_conv2d_native(
        net.x, net.weight(3, 3, 3, 2), [1, 1, 1, 1], "SAME", name="d1"
    )
    y = tf.nn.relu6(net.norm(y))
    y = tf.nn.conv2d(y, net.weight(3, 3, 6, 6), 1, "SAME", dilations=2, name="c1")
    y = tf.nn.relu(net.norm(y))
    y = tf.nn.conv2d(y, net.weight(1, 1, 6, 1), 1, "SAME", name="c2")
    y = v1.nn.depthwise_conv2d_native(y, net.weight(3, 3, 1, 4), [1, 2, 2, 1], "VALID", name="d2")
    y = tf.nn.avg_pool2d(tf.nn.relu(y), 7, 1, "VALID", name="pool")
    return tf.matmul(tf.reshape(y, [-1, 4]), net.weight(4, 5), name="fc")


def upsampling(net):
    """Transposed convolutions with static and with computed sizes."""
    size = tf.shape(net.x)[0]
    y = tf.nn.conv2d_transpose(net.x, net.weight(3, 3, 6, 3), [size, 32, 32, 6], 2, name="u1")
    y = tf.nn.relu(net.norm(y))
    y = tf.nn.conv2d_transpose(y, net.weight(2, 2, 4, 6), [size, 33, 33, 4], 1, "VALID", name="u2")
    return tf.nn.relu6(tf.nn.bias_add(y, net.weight(4)))


def groups(net):
    """A convolution in groups by Split and Concat, a shared weight, a factor that isn't folded."""
    y = tf.nn.conv2d(net.x, net.weight(3, 3, 3, 8), 1, "SAME", name="c1")
    y = tf.nn.relu(y)
    parts = tf.split(y, 2, 3)
    parts = [
        tf.nn.bias_add(
            tf.nn.conv2d(part, net.weight(3, 3, 4, 4), 1, "SAME", name=f"g{i}"), net.weight(4)
        )
        for i, part in enumerate(parts)
    ]
    y = tf.nn.relu(tf.concat(parts, 3))
    shared = tf.constant(net.weight(3, 3, 8, 8))
    y = tf.nn.relu(tf.nn.conv2d(y, shared, 1, "SAME", name="s1"))
    return tf.nn.relu(tf.nn.conv2d(y, shared, 2, "SAME", name="s2"))


def channels_first(net):
    """NCHW, as it is trained on accelerators."""
    y = tf.transpose(net.x, [0, 3, 1, 2])
    y = tf.nn.conv2d(y, net.weight(3, 3, 3, 8), 1, "SAME", "NCHW", name="c1")
    y = tf.nn.relu(net.norm(y, "NCHW"))
    y = tf.nn.max_pool2d(y, 2, 2, "VALID", "NCHW")
    y = tf.nn.relu(tf.nn.conv2d(y, net.weight(3, 3, 8, 8), 2, "SAME", "NCHW", name="c2"))
    y = tf.nn.avg_pool2d(y, 4, 4, "VALID", "NCHW", name="pool")
    return tf.matmul(tf.reshape(y, [-1, 8]), net.weight(8, 5), name="fc")


def residual(net):
    """Two residual blocks, one with a shortcut convolution."""
    y = tf.nn.relu(net.norm(tf.nn.conv2d(net.x, net.weight(3, 3, 3, 8), 1, "SAME", name="c1")))
    z = tf.nn.relu(net.norm(tf.nn.conv2d(y, net.weight(3, 3, 8, 8), 1, "SAME", name="c2")))
    z = net.norm(tf.nn.conv2d(z, net.weight(3, 3, 8, 8), 1, "SAME", name="c3"))
    y = tf.nn.relu(z + y)
    z = net.norm(tf.nn.conv2d(y, net.weight(3, 3, 8, 8), 2, "SAME", name="c4"))
    y = tf.nn.relu(z + tf.nn.conv2d(y, net.weight(1, 1, 8, 8), 2, "SAME", name="c5"))
    y = tf.reduce_mean(y, [1, 2])
    return tf.matmul(y, net.weight(8, 5), name="fc")


STRAIGHT = [stem, depthwise, upsampling, groups, channels_first]


def build(architecture):
    """(net, record) with the output "y"."""
    net = Net((8, 16, 16, 3))
    with net.graph.as_default():
        tf.identity(architecture(net), name="y")
    record = net.record()
    if "g0" in record:
        # The members of a group share one quantiser before the Split.
        widest = max((record["g0"], record["g1"]), key=lambda factors: factors.scale_d)
        shared = {"scale_d": widest.scale_d, "offset_d": widest.offset_d}
        record = Record({**record, **{g: attrs.evolve(record[g], **shared) for g in ("g0", "g1")}})
    return net, record


def run_both(net, record, path, **options):
    """(runtime, its value of "y", the exact value, the graph of integers)."""
    model = net.graph.as_graph_def()
    runtime = LiteRtRuntime(export_litert(model, ["y"], record, path, **options))
    simulated = simulate(model, ["y"], record)
    (exact,) = integer_reference(simulated.exact.graph_def, ["y"], net.feeds)
    return runtime, runtime.run(net.feeds, ["y"])["y"], exact, simulated


def code_difference(found, exact, step):
    """|difference| of the codes on the grid of `found`, which saturates at its ends."""
    codes = np.rint(found / step)
    return np.abs(codes - np.clip(np.rint(exact / step), codes.min(), codes.max()))


@pytest.mark.parametrize("architecture", STRAIGHT)
def test_a_graph_without_branches_is_the_simulation_in_int8(architecture, tmp_path):
    """Every layer is int8, and its codes are the exact ones but for rare ties, one step apart."""
    net, record = build(architecture)
    runtime, got, exact, simulated = run_both(net, record, tmp_path / "m", calibration=net.feeds)
    rows = runtime.executions()
    assert {row.layer for row in rows} == set(record)
    assert {row.execution for row in rows} == {"int8"}
    assert code_difference(got, exact, runtime.output_step("y")).mean() <= 0.02
    nodes = simulated.exact.results
    found = runtime.layer_outputs(net.feeds)
    assert list(found) == [row.layer for row in rows]
    names = [nodes.get(output.tensor, output.tensor) for output in found.values()]
    truth = integer_reference(simulated.exact.graph_def, names, net.feeds)
    for (layer, output), value in zip(found.items(), truth, strict=True):
        difference = code_difference(output.value, value, output.step)
        assert difference.mean() <= 0.02, layer
        assert difference.max() <= 2, layer


@pytest.mark.parametrize("architecture", [*STRAIGHT, residual])
def test_without_calibration_the_file_computes_the_simulation(architecture, tmp_path):
    """What no quantiser covers is float, so that nothing is rounded that training didn't round."""
    net, record = build(architecture)
    runtime, got, exact, _ = run_both(net, record, tmp_path / "m")
    assert "int8" in {row.execution for row in runtime.executions()}
    assert np.abs(got - exact).mean() <= 0.02 * np.ptp(exact) / 255
    assert (got.argmax(-1) == exact.argmax(-1)).mean() >= 0.999


@pytest.mark.parametrize(("window", "stride"), [(8, 1), (8, 3), (5, 2), (8, 8)])
def test_an_average_that_leaves_out_padding_is_one_of_each_window(tmp_path, window, stride):
    """SAME: a window as large as the image is the average of the whole image only where it fits.

    LiteRT's int8 kernel would round an average over padding twice, so that it stays float.
    """
    net = Net((4, 8, 8, 3))
    with net.graph.as_default():
        y = tf.nn.relu(tf.nn.conv2d(net.x, net.weight(3, 3, 3, 4), 1, "SAME", name="c1"))
        y = tf.nn.avg_pool2d(y, window, stride, "SAME", name="pool")
        tf.identity(tf.nn.conv2d(y, net.weight(1, 1, 4, 4), 1, "SAME", name="c2"), name="y")
    runtime, got, exact, _ = run_both(net, net.record(), tmp_path / "m", calibration=net.feeds)
    assert got.shape == exact.shape
    assert code_difference(got, exact, runtime.output_step("y")).mean() <= 0.02
    executions = {row.layer: row.execution for row in runtime.executions()}
    pool = "int8" if (window, stride) == (8, 8) else "float"
    assert executions == {"c1": "int8", "pool": pool, "c2": "int8"}


@pytest.mark.parametrize("calibrated", [True, False])
def test_outputs_that_no_operator_gives_are_what_they_are(tmp_path, calibrated):
    """A constant and an input of the model, beside an output of a layer."""
    net = Net((4, 8, 8, 3))
    anchors = np.array([0.5, -3.0, 7.25], np.float32)
    with net.graph.as_default():
        tf.constant(anchors, name="anchors")
        tf.identity(tf.nn.conv2d(net.x, net.weight(3, 3, 3, 4), 1, "SAME", name="c"), name="y")
    outputs, given = ["anchors", "x", "y"], {"calibration": net.feeds} if calibrated else {}
    model = net.graph.as_graph_def()
    artifact = export_litert(model, outputs, net.record(), tmp_path / "m", **given)
    found = LiteRtRuntime(artifact).run(net.feeds, outputs)
    np.testing.assert_array_equal(found["anchors"], anchors)
    np.testing.assert_array_equal(found["x"], net.feeds["x"])
    assert found["y"].shape == (4, 8, 8, 4)


def test_groups_on_different_grids_keep_their_own(tmp_path):
    """Split -> Conv2D each -> Concat: one scale for one group, a scale per channel for the next."""
    net = Net((4, 8, 8, 4))
    with net.graph.as_default():
        weights = [net.weight(3, 3, 2, 4), 20 * net.weight(3, 3, 2, 4)]
        parts = [
            tf.nn.conv2d(part, weight, 1, "SAME", name=f"g{index}")
            for index, (part, weight) in enumerate(zip(tf.split(net.x, 2, 3), weights, strict=True))
        ]
        y = tf.concat(parts, 3)
        tf.identity(tf.nn.conv2d(y, net.weight(1, 1, 8, 4), 1, "SAME", name="c"), name="y")
    own = net.record()
    widest = max((own["g0"], own["g1"]), key=lambda factors: factors.scale_d)
    shared = {"scale_d": widest.scale_d, "offset_d": widest.offset_d}
    record = Record(
        {
            "g0": LayerFactors(**shared, scale_w=own["g0"].scale_w.max(keepdims=True)),
            "g1": attrs.evolve(own["g1"], **shared),
            "c": own["c"],
        }
    )
    runtime, got, exact, _ = run_both(net, record, tmp_path / "m", calibration=net.feeds)
    assert {row.execution for row in runtime.executions()} == {"int8"}
    assert code_difference(got, exact, runtime.output_step("y")).mean() <= 0.02
    file = LiteRtFile((tmp_path / "m.tflite").read_bytes())
    for name in ("g0", "g1"):
        scale, _ = file.grid(file.find(f"{name}:weight"))
        np.testing.assert_array_equal(scale, record[name].scale_w)


def test_a_residual_network_is_int8_throughout(tmp_path):
    """With calibration no operator but the first and the last knows floats; classes agree."""
    net, record = build(residual)
    runtime, got, exact, _ = run_both(net, record, tmp_path / "m", calibration=net.feeds)
    assert {row.execution for row in runtime.executions()} == {"int8"}
    file = LiteRtFile((tmp_path / "m.tflite").read_bytes())
    floats = [op for op in file.operators if "float32" in map(file.dtype, op.outputs)]
    assert [op.kind for op in floats] == ["DEQUANTIZE"]
    assert [op.kind for op in file.operators].count("QUANTIZE") <= 3
    np.testing.assert_array_equal(got.argmax(-1), exact.argmax(-1))
    # Both operands of an ADD are rounded to 8 bits here, and neither is in training.
    assert code_difference(got, exact, runtime.output_step("y")).mean() <= 2


def test_a_range_that_is_wider_than_the_trained_one_is_not_clipped_for_others(tmp_path):
    """What adds a value that a quantiser clips gets all of it, on a grid that was observed."""
    net = Net((8, 16, 16, 3))
    with net.graph.as_default():
        y = tf.nn.relu(tf.nn.conv2d(net.x, net.weight(3, 3, 3, 4), 1, "SAME", name="c1"))
        z = tf.nn.conv2d(y, net.weight(3, 3, 4, 4), 1, "SAME", name="c2")
        tf.nn.conv2d(z + y, net.weight(1, 1, 4, 4), 1, "SAME", name="c3")
        tf.identity(net.graph.get_tensor_by_name("c3:0"), name="y")
    record = net.record()
    clipped = LayerFactors(record["c2"].scale_d / 4, -128, record["c2"].scale_w)
    record = Record({**record, "c2": clipped})
    runtime, got, exact, _ = run_both(net, record, tmp_path / "m", calibration=net.feeds)
    outputs = runtime.layer_outputs(net.feeds)
    assert outputs["c1"].value.max() > 3 * 255 * clipped.scale_d
    assert code_difference(got, exact, runtime.output_step("y")).mean() <= 1
    assert {row.execution for row in runtime.executions()} == {"int8"}


def test_other_ops_compute_in_int8_where_their_grid_is_known(tmp_path):
    """Softmax and sigmoid on their fixed grids, concatenation, a factor; tanh of it.

    What follows the last layer is int8 where the outputs are.
    """
    net = Net((8, 16, 16, 3))
    with net.graph.as_default():
        y = tf.nn.relu(tf.nn.conv2d(net.x, net.weight(3, 3, 3, 4), 2, "SAME", name="c1"))
        a = tf.nn.conv2d(y, net.weight(1, 1, 4, 4), 1, "SAME", name="c2")
        b = tf.sigmoid(tf.nn.conv2d(y, net.weight(1, 1, 4, 4), 1, "SAME", name="c3"))
        y = tf.concat([a, b * 4.0], 3)
        y = tf.nn.conv2d(tf.tanh(y), net.weight(3, 3, 8, 4), 1, "SAME", name="c4")
        y = tf.nn.softmax(tf.reduce_mean(y - 0.25, [1, 2]))
        tf.identity(y, name="y")
    record = net.record()
    options = {"calibration": net.feeds, "integer_io": True}
    runtime, got, exact, _ = run_both(net, record, tmp_path / "m", **options)
    assert {row.execution for row in runtime.executions()} == {"int8"}
    file = LiteRtFile((tmp_path / "m.tflite").read_bytes())
    assert {file.dtype(op.outputs[0]) for op in file.operators} == {"int8"}
    assert runtime.output_step("y") == 1 / 256
    np.testing.assert_array_equal(got.argmax(-1), exact.argmax(-1))
    assert np.abs(got - exact).mean() < 1.5 / 256


def test_scales_that_a_kernel_aborts_on_are_left_to_floats(tmp_path):
    """A sum with a value that is zero for every input, or with one of another magnitude."""
    net = Net((8, 16, 16, 3))
    with net.graph.as_default():
        small = tf.nn.conv2d(net.x, net.weight(3, 3, 3, 4) * 1e-4, 1, "SAME", name="c1")
        dead = tf.nn.conv2d(net.x, net.weight(3, 3, 3, 4), 1, "SAME", name="c2")
        y = small + tf.nn.relu(dead - 1e3)
        y = tf.nn.softmax(tf.reduce_mean(y * 1e-4, [1, 2]))
        tf.identity(y, name="y")
    runtime, got, exact, _ = run_both(net, net.record(), tmp_path / "m", calibration=net.feeds)
    assert {row.execution for row in runtime.executions()} == {"int8"}
    np.testing.assert_allclose(got, exact, atol=1e-6)


@pytest.mark.parametrize("activation", [tf.nn.relu6, tf.identity])
def test_a_branch_between_layers_in_nchw_is_int8(tmp_path, activation):
    """What is transposed within a layer has the range, and in `layer_outputs` the name, of it."""
    net = Net((4, 3, 8, 8))
    with net.graph.as_default():
        y = tf.nn.conv2d(net.x, net.weight(3, 3, 3, 8), 1, "SAME", "NCHW", name="c1")
        y = activation(net.norm(y, "NCHW"))
        z = tf.nn.relu(tf.nn.conv2d(y, net.weight(3, 3, 8, 8), 1, "SAME", "NCHW", name="c2"))
        y = tf.nn.avg_pool2d(y + z, 2, 2, "VALID", "NCHW", name="pool")
        y = tf.matmul(tf.reshape(y, [-1, 128]), net.weight(128, 4), name="fc")
        tf.identity(y, name="y")
    record = net.record()
    runtime, got, exact, simulated = run_both(net, record, tmp_path / "m", calibration=net.feeds)
    assert {row.execution for row in runtime.executions()} == {"int8"}
    assert code_difference(got, exact, runtime.output_step("y")).mean() <= 2
    found = runtime.layer_outputs(net.feeds)
    nodes = simulated.exact.results
    names = [nodes.get(output.tensor, output.tensor) for output in found.values()]
    truth = integer_reference(simulated.exact.graph_def, names, net.feeds)
    for (layer, output), value in zip(found.items(), truth, strict=True):
        assert code_difference(output.value, value, output.step).mean() <= 2, layer
