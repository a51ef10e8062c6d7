"""The deployed graph: its pattern, its names, its numbers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    BiasOverflowError,
    FileWriteError,
    ModelFileError,
    OutputNotFoundError,
    RecordError,
    UnsupportedLayerError,
)
from graphquant_core.record import LayerFactors, Record
from graphquant_core.registry import load_registry
from graphquant_export.integer_reference import integer_reference
from graphquant_export.targets.ascend import ASCEND_TYPES, export_ascend, quantize_graph

v1 = tf.compat.v1

LAYERS = [
    ("Conv2D", "NHWC"),
    ("Conv2D", "NCHW"),
    ("DepthwiseConv2dNative", "NHWC"),
    ("DepthwiseConv2dNative", "NCHW"),
    ("Conv2DBackpropInput", "NHWC"),
    ("Conv2DBackpropInput", "NCHW"),
    ("MatMul", ""),
]


def nodes_by_name(graph_def):
    return {node.name: node for node in graph_def.node}


TAILS = {  # fused batch norm needs rank 4, the unfused one broadcasts along the last axis
    "NHWC": ["none", "bias", "fused", "unfused", "bias+fused", "bias+unfused+doubled"],
    "NCHW": ["none", "bias", "fused", "bias+fused+doubled"],
    "": ["none", "bias", "unfused", "bias+unfused+doubled"],
}


@pytest.mark.parametrize(
    ("op_type", "layout", "tail"),
    [(op_type, layout, tail) for op_type, layout in LAYERS for tail in TAILS[layout]],
)
def test_a_deployed_layer_computes_the_fake_quantised_layer(
    layer_model, run, op_type, layout, tail
):
    """The deployed layer is layer(fake_quantize(x), fake_quantize(w * factor)) + bias.

    They differ by the rounding of the bias alone: by half of scale_d * scale_w at most.
    """
    model = layer_model(op_type, tail, layout or "NHWC")
    record = model.record()
    quantized, _ = quantize_graph(model.graph_def, ["y"], record)
    (found,) = run(quantized, ["y"], {"x:0": model.x})

    factors = record[model.name]
    steps = np.rint(model.x * np.float32(1 / np.float32(factors.scale_d))) + factors.offset_d
    x = (np.clip(steps, -128, 127) - factors.offset_d) * np.float64(factors.scale_d)
    scale_w = factors.scale_w.astype(np.float64)
    shape = [size if a in model.axes else 1 for a, size in enumerate(model.weight.shape)]
    codes = np.rint(model.weight * (model.factor / scale_w).reshape(shape))
    assert np.abs(codes).max() <= 127
    if layout == "NCHW":
        x, found = x.transpose(0, 2, 3, 1), found.transpose(0, 2, 3, 1)
    expected = model.run(x, codes * scale_w.reshape(shape)) + model.bias
    tolerance = 0.5001 * factors.scale_d * scale_w if tail != "none" else 0
    assert (np.abs(found - expected) <= tolerance + 1e-6 * np.abs(expected).max()).all()


@pytest.mark.parametrize(("op_type", "layout"), LAYERS)
def test_a_deployed_layer_equals_its_integer_reference(layer_model, run, op_type, layout):
    """What an ordinary session returns is bit for bit the layer computed on exact integers."""
    model = layer_model(op_type, "bias", layout or "NHWC")
    quantized, _ = quantize_graph(model.graph_def, ["y"], model.record())
    (found,) = run(quantized, ["y"], {"x:0": model.x})
    (exact,) = integer_reference(quantized, ["y"], {"x": model.x})
    np.testing.assert_array_equal(found, exact)


def test_the_nodes_are_those_that_the_compiler_matches(layer_model):
    """AscendQuant -> Conv2D <- AscendWeightQuant; Conv2D -> BiasAdd -> AscendDequant."""
    model = layer_model("Conv2D", "bias+fused")
    record = model.record(scale_d=0.03, offset_d=-7)
    quantized, layers = quantize_graph(model.graph_def, ["y"], record)
    nodes = nodes_by_name(quantized)

    quant = nodes["block/act_quant/AscendQuant"]
    assert list(quant.input) == ["x"]
    assert quant.attr["T"].type == tf.float32.as_datatype_enum
    assert quant.attr["quant_bits"].i == 8
    assert quant.attr["scale"].f == np.float32(1) / np.float32(0.03)
    assert quant.attr["offset"].f == -7.0
    assert quant.attr["dst_type"].s == b"INT8"

    weight = nodes["block/weight_quant/AscendWeightQuant"]
    codes, offset = (tf.make_ndarray(nodes[name].attr["value"].tensor) for name in weight.input)
    assert (codes.dtype, offset.dtype) == (np.int8, np.int8)
    assert (codes.shape, offset.tolist()) == (model.weight.shape, [0])
    assert weight.attr["dst_type"].s == b"INT8"

    conv = nodes["block/layer"]
    assert list(conv.input) == [quant.name, weight.name]
    bias_add = nodes["block/bias_quant/BiasAdd"]
    cast = nodes["block/bias_quant/Cast"]
    assert list(bias_add.input) == [conv.name, cast.name]
    bias = tf.make_ndarray(nodes[cast.input[0]].attr["value"].tensor)
    scale = np.float32(0.03) * record[model.name].scale_w
    np.testing.assert_array_equal(bias, np.rint(model.bias / scale))
    assert bias.dtype == np.int32

    dequant = nodes["block/dequant/AscendDequant"]
    assert dequant.input[0] == bias_add.name
    bits = tf.make_ndarray(nodes[dequant.input[1]].attr["value"].tensor)
    np.testing.assert_array_equal(bits, scale.view(np.uint32).astype(np.uint64))
    assert list(dequant.attr["ksize"].list.i) == [1, 1]
    assert dequant.attr["data_format"].s == b"NHWC"
    assert list(nodes["y"].input) == [dequant.name]
    assert layers[0].folded == ("block/BiasAdd", "block/FusedBatchNormV3")
    assert not {node.op for node in quantized.node} & {"FusedBatchNormV3", "VariableV2"}


def test_shapes_survive_an_import(five_layers, five_factors):
    """Behind every Ascend node, an importer knows the shape that the float graph has there."""
    graph = five_layers(batch=2)
    record = five_record(five_factors)
    quantized, layers = quantize_graph(graph.as_graph_def(), ["probability"], record)
    with tf.Graph().as_default() as imported:
        tf.import_graph_def(quantized, name="")
    for layer in layers:
        before = graph.get_tensor_by_name(f"{layer.name}:0").shape.as_list()
        assert imported.get_tensor_by_name(f"{layer.dequant}:0").shape.as_list() == before
        assert imported.get_tensor_by_name(f"{layer.quant}:0").shape.is_fully_defined()


def five_record(five_factors, scale=0.02):
    """A record for the float graph of `five_layers`, with one weight scale for every channel."""
    channels = {"conv/Conv2D": 4, "depthwise/depthwise": 8, "up/deconv": 6, "head/Conv2D": 10}
    return Record(
        {
            name: LayerFactors(
                *factors,
                None if name == "pool/AvgPool" else np.full(channels.get(name, 1), scale),
            )
            for name, factors in five_factors.items()
        }
    )


def test_five_layers_equal_their_integer_reference(five_layers, five_factors, run):
    """A whole graph, in an ordinary session, is bit for bit the graph on exact integers."""
    graph = five_layers()
    record = five_record(five_factors)
    quantized, layers = quantize_graph(graph.as_graph_def(), ["logits", "probability"], record)
    assert [layer.op_type for layer in layers] == [
        "Conv2D",
        "DepthwiseConv2dNative",
        "Conv2DBackpropInput",
        "AvgPool",
        "Conv2D",
        "MatMul",
    ]
    image = np.random.default_rng(1).normal(0, 1, (3, 8, 8, 3)).astype(np.float32)
    found = run(quantized, ["logits", "probability"], {"image:0": image})
    exact = integer_reference(quantized, ["logits", "probability"], {"image": image})
    for left, right in zip(found, exact, strict=True):
        np.testing.assert_array_equal(left, right)
    assert np.ptp(found[0]) > 1


def test_average_pooling_is_deployed_without_weight(five_layers, five_factors):
    """AscendQuant -> AvgPool -> AscendDequant with the pool's ksize and scale_d."""
    graph = five_layers()
    record = five_record(five_factors)
    quantized, _ = quantize_graph(graph.as_graph_def(), ["logits"], record)
    nodes = nodes_by_name(quantized)
    dequant = nodes["pool/dequant/AscendDequant"]
    assert list(nodes["pool/AvgPool"].input) == ["pool/act_quant/AscendQuant"]
    assert list(dequant.attr["ksize"].list.i) == [4, 4]
    bits = tf.make_ndarray(nodes[dequant.input[1]].attr["value"].tensor)
    assert bits.astype(np.uint32).view(np.float32).tolist() == [np.float32(0.0433)]


@pytest.mark.parametrize(("batch", "constant"), [(2, True), (None, False)])
def test_the_sizes_of_a_transposed_convolution_become_constant(
    five_layers, five_factors, caplog, batch, constant
):
    """input_sizes is a Const when the shape is static; otherwise a warning says what to do."""
    graph = five_layers(batch=batch)
    record = five_record(five_factors)
    quantized, _ = quantize_graph(graph.as_graph_def(), ["logits"], record)
    nodes = nodes_by_name(quantized)
    sizes = nodes[nodes["up/deconv"].input[0]]
    assert (sizes.op == "Const") is constant
    assert ("input_sizes are not constant" in caplog.text) is not constant
    if constant:
        assert tf.make_ndarray(sizes.attr["value"].tensor).tolist() == [2, 8, 8, 6]


def test_layers_with_one_input_share_one_quantiser(run):
    """One AscendQuant for each (input, scale, offset); names are made unique as TensorFlow does."""
    w = np.ones((1, 1, 2, 3), np.float32)
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [1, 2, 2, 2], name="x")
        a, b, c = (tf.nn.conv2d(x, w, 1, "SAME", name=f"s/{n}") for n in "abc")
        tf.add_n([a, b, c], name="y")
    same, other = LayerFactors(0.1, 0, [0.01]), LayerFactors(0.2, 0, [0.01])
    record = Record({"s/c": other, "s/b": same, "s/a": same})
    quantized, layers = quantize_graph(graph.as_graph_def(), ["y"], record)
    assert [layer.quant for layer in layers] == [
        "s/act_quant/AscendQuant",
        "s/act_quant/AscendQuant",
        "s/act_quant_1/AscendQuant",
    ]
    assert [layer.dequant for layer in layers] == [
        "s/dequant/AscendDequant",
        "s/dequant_1/AscendDequant",
        "s/dequant_2/AscendDequant",
    ]
    x = np.ones((1, 2, 2, 2), np.float32)
    np.testing.assert_allclose(run(quantized, ["y"], {"x:0": x})[0], 6, rtol=1e-6)


def test_who_waited_for_a_folded_op_waits_for_what_replaces_it(layer_model, run):
    """A control edge from a folded op moves to the layer's AscendDequant."""
    model = layer_model("Conv2D", "bias+fused")
    graph_def = v1.GraphDef()
    graph_def.CopyFrom(model.graph_def)
    nodes_by_name(graph_def)["y"].input.append("^block/BiasAdd")
    quantized, _ = quantize_graph(graph_def, ["y"], model.record())
    nodes = nodes_by_name(quantized)
    assert "^block/dequant/AscendDequant" in nodes["y"].input
    assert "block/BiasAdd" not in nodes
    assert run(quantized, ["y"], {"x:0": model.x})[0].shape == (2, 6, 6, 6)


@pytest.mark.parametrize("output", ["block/layer", "block/BiasAdd", "block/FusedBatchNormV3", "y"])
def test_an_output_keeps_its_name_and_its_value(layer_model, run, output):
    """Wherever in the folded tail an output stands, its name carries the dequantised value."""
    model = layer_model("Conv2D", "bias+fused")
    folded = {"block/layer": 1, "block/BiasAdd": 1}.get(output, model.factor)
    plain = layer_model("Conv2D", "none").record()
    record = plain if np.ndim(folded) == 0 else model.record()
    quantized, _ = quantize_graph(model.graph_def, [output, "y"], record)
    before = run(model.graph_def, [output, "y"], {"x:0": model.x})
    after = run(quantized, [output, "y"], {"x:0": model.x})
    for expected, found in zip(before, after, strict=True):
        assert np.abs(expected - found).max() < 0.05 * np.abs(expected).max()


def test_layers_outside_the_record_stay_float(five_layers, five_factors):
    """A float model is deployed layer by layer: only what the record names changes."""
    graph = five_layers()
    full = five_record(five_factors)
    record = Record({"head/MatMul": full["head/MatMul"]})
    quantized, layers = quantize_graph(graph.as_graph_def(), ["logits"], record)
    assert [layer.name for layer in layers] == ["head/MatMul"]
    assert sum(node.op in ASCEND_TYPES for node in quantized.node) == 3


def test_skip_fusion_keeps_batch_norm_out(layer_model, run):
    """skip_fusion deploys the layer with its bias and leaves the batch norm behind it."""
    model = layer_model("Conv2D", "bias+fused")
    factors = layer_model("Conv2D", "bias").record()[model.name]
    record = Record({model.name: LayerFactors(0.03, -7, factors.scale_w, skip_fusion=True)})
    quantized, layers = quantize_graph(model.graph_def, ["y"], record)
    assert layers[0].folded == ("block/BiasAdd",)
    assert "FusedBatchNormV3" in {node.op for node in quantized.node}
    (before,) = run(model.graph_def, ["y"], {"x:0": model.x})
    (after,) = run(quantized, ["y"], {"x:0": model.x})
    assert np.abs(before - after).max() < 0.05 * np.abs(before).max()


def test_a_bias_beyond_int32_is_refused(layer_model):
    """A bias that doesn't fit is an error with the layer, the value and the way out."""
    model = layer_model("Conv2D", "bias")
    scale = np.full(6, 2e-7)
    record = Record({model.name: LayerFactors(2e-7, 0, scale)})
    with pytest.raises(BiasOverflowError, match=r'"block/layer".*int32.*skip_layers'):
        quantize_graph(model.graph_def, ["y"], record)


def test_what_tensorflow_1_15_does_not_know_is_left_out(layer_model):
    """Attributes that ops got later are absent where they have their default."""
    model = layer_model("MatMul", "bias")
    assert "grad_a" in nodes_by_name(model.graph_def)["block/layer"].attr
    quantized, _ = quantize_graph(model.graph_def, ["y"], model.record())
    assert set(nodes_by_name(quantized)["block/layer"].attr) == {
        "T",
        "transpose_a",
        "transpose_b",
    }


def test_both_files_are_written_and_repeat_byte_for_byte(layer_model, tmp_path, run):
    """_quantized.pb has the library, _deploy.pb has not; the same input gives the same bytes."""
    model = layer_model("Conv2D", "bias")
    exporter = load_registry().exporters["ascend"]
    first = exporter.export(model.graph_def, ["y"], model.record(), tmp_path / "new" / "m")
    names = [path.name for path in first.paths]
    assert names == ["m_quantized.pb", "m_deploy.pb"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(names)
    second = exporter.export(model.graph_def, ["y"], model.record(), tmp_path / "n")
    for one, two in zip(first.paths, second.paths, strict=True):
        assert one.read_bytes() == two.read_bytes()
    quantized = v1.GraphDef.FromString(first.quantized_path.read_bytes())
    deployed = v1.GraphDef.FromString(first.deploy_path.read_bytes())
    assert {f.signature.name for f in quantized.library.function} == ASCEND_TYPES
    assert not deployed.HasField("library")
    assert list(deployed.node) == list(quantized.node)
    (direct,) = run(quantized, ["y"], {"x:0": model.x})
    (exact,) = integer_reference(deployed, ["y"], {"x": model.x})
    np.testing.assert_array_equal(direct, exact)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (["z"], 'no op "z"'),
        (["block/layr"], 'did you mean "block/layer"'),
        ([], "at least one"),
        ("y", "must be a list"),
    ],
)
def test_wrong_outputs_are_refused(layer_model, tmp_path, outputs, message):
    """An output that isn't there is an error with the closest name, and nothing is written."""
    model = layer_model("Conv2D", "bias")
    with pytest.raises(OutputNotFoundError, match=message):
        export_ascend(model.graph_def, outputs, model.record(), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_another_model_is_refused(layer_model):
    """A key that no layer has is an error that suggests the nearest layer."""
    model = layer_model("Conv2D", "bias")
    record = Record({"block/layer2": model.record()[model.name]})
    with pytest.raises(RecordError, match='did you mean "block/layer"'):
        quantize_graph(model.graph_def, ["y"], record)


def test_a_model_is_not_quantised_twice(layer_model):
    """A model that was exported before is refused."""
    model = layer_model("Conv2D", "bias")
    quantized, _ = quantize_graph(model.graph_def, ["y"], model.record())
    with pytest.raises(ModelFileError, match="quantised before"):
        quantize_graph(quantized, ["y"], model.record())


def test_a_model_that_is_not_frozen_is_refused(five_layers, five_factors):
    """A graph with variables is refused with the function that freezes it."""
    graph = five_layers(constants=False)
    with pytest.raises(ModelFileError, match=r"not frozen.*convert_variables_to_constants"):
        quantize_graph(graph.as_graph_def(), ["logits"], five_record(five_factors))


@pytest.mark.parametrize("save_path", ["", "folder/", "file/m"])
def test_an_unwritable_path_is_refused_before_anything_is_done(
    layer_model, tmp_path, monkeypatch, save_path
):
    """A path that can't be written is an error with its name, and no file is left behind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    model = layer_model("Conv2D", "bias")
    with pytest.raises(FileWriteError, match="save_path"):
        export_ascend(model.graph_def, ["y"], model.record(), save_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interrupted_export_leaves_the_older_pair(layer_model, tmp_path, monkeypatch):
    """When the second file can't be written, an older pair stays whole and nothing is added."""
    model = layer_model("Conv2D", "bias")
    artifact = export_ascend(model.graph_def, ["y"], model.record(), tmp_path / "m")
    before = [path.read_bytes() for path in artifact.paths]
    calls = []

    def fail_the_second_time(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError("no space")

    monkeypatch.setattr("os.fsync", fail_the_second_time)
    with pytest.raises(FileWriteError, match=r"m_deploy\.pb.*no space"):
        export_ascend(model.graph_def, ["y"], model.record(scale_d=0.05), tmp_path / "m")
    assert [path.read_bytes() for path in artifact.paths] == before
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.undo()
    export_ascend(model.graph_def, ["y"], model.record(scale_d=0.05), tmp_path / "m")
    assert [path.read_bytes() == old for path, old in zip(artifact.paths, before, strict=True)] == [
        False,
        False,
    ]


def test_a_layer_in_a_branch_is_deployed(run):
    """A layer inside a tf.compat.v1.cond is deployed, and the other branch stays as it was."""
    weight = np.random.default_rng(0).normal(size=(1, 1, 2, 3)).astype(np.float32)
    control_flow_v2 = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [1, 2, 2, 2], name="x")
            taken = v1.placeholder(tf.bool, [], name="taken")
            y = v1.cond(
                taken,
                lambda: tf.nn.conv2d(x, tf.constant(weight), 1, "SAME", name="layer") + 1.0,
                lambda: tf.zeros([1, 2, 2, 3]),
            )
            tf.identity(y, name="y")
    finally:
        if control_flow_v2:
            v1.enable_control_flow_v2()
    record = Record({"cond/layer": LayerFactors(0.02, 0, [0.02])})
    quantized, _ = quantize_graph(graph.as_graph_def(), ["y"], record)
    for branch in (True, False):
        feeds = {"x:0": np.ones((1, 2, 2, 2), np.float32), "taken:0": branch}
        (before,) = run(graph.as_graph_def(), ["y"], feeds)
        (after,) = run(quantized, ["y"], feeds)
        np.testing.assert_allclose(after, before, atol=0.03)


def test_a_layer_in_a_loop_is_refused():
    """A layer inside a tf.compat.v1.while_loop can't be deployed, and the error says so."""
    control_flow_v2 = v1.control_flow_v2_enabled()
    v1.disable_control_flow_v2()
    try:
        with tf.Graph().as_default() as graph:
            x = v1.placeholder(tf.float32, [1, 2, 2, 2], name="x")
            weight = tf.constant(np.ones((1, 1, 2, 2), np.float32))
            y = v1.while_loop(
                lambda step, _: step < 3,
                lambda step, y: (step + 1, tf.nn.conv2d(y, weight, 1, "SAME", name="layer")),
                [0, x],
            )[1]
            tf.identity(y, name="y")
    finally:
        if control_flow_v2:
            v1.enable_control_flow_v2()
    record = Record({"while/layer": LayerFactors(0.02, 0, [0.02])})
    with pytest.raises(UnsupportedLayerError, match='"while/layer" is inside a while loop'):
        quantize_graph(graph.as_graph_def(), ["y"], record)
