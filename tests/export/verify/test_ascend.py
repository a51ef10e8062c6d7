"""An Ascend export beside what it was made of: nothing to find untouched, the culprit named."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    ConfigError,
    MissingDependencyError,
    ModelFileError,
    RangeError,
)
from graphquant_core.graph.frozen import load_graph_def
from graphquant_core.hookspecs import hookimpl
from graphquant_core.record import Record
from graphquant_core.registry import build_registry, load_registry
from graphquant_export.targets.ascend import export_ascend
from graphquant_export.verification import open_artifact, verify

LAYERS = [
    "conv/Conv2D",
    "depthwise/depthwise",
    "up/deconv",
    "pool/AvgPool",
    "head/Conv2D",
    "head/MatMul",
]


@pytest.fixture
def artifact(trained, tmp_path):
    """The export of `trained`."""
    frozen, record = trained
    return export_ascend(frozen, ["logits"], record, tmp_path / "model")


def edit(artifact, change):
    """Lets `change` edit the nodes of the artifact's file."""
    graph_def = load_graph_def(artifact.quantized_path)
    change({node.name: node for node in graph_def.node}, graph_def)
    artifact.quantized_path.write_bytes(graph_def.SerializeToString())


def rename(graph_def, old, new):
    """Renames a node for everyone who takes it."""
    for node in graph_def.node:
        if node.name == old:
            node.name = new
        node.input[:] = [new if name == old else name for name in node.input]


def test_an_untouched_artifact_agrees_exactly(artifact, image):
    """Top-1 agreement 100 % and 0 steps from the integers, for the output and every layer."""
    found = verify(artifact, {"image": image}, layers=True)
    assert found.ok()
    assert found.problems() == ()
    assert found.first_divergence() is None
    (output,) = found.outputs
    assert output.reference.agreement == output.simulation.agreement == 1.0
    assert (output.reference.largest, output.reference.sqnr) == (0.0, None)
    assert output.simulation.mean < 0.1
    assert [layer.layer for layer in found.layers] == LAYERS
    assert {layer.execution for layer in found.layers} == {"int8"}
    assert {layer.found.largest for layer in found.layers} == {0.0}
    assert {layer.own.largest for layer in found.layers} == {0.0}
    assert found.samples == len(image)
    assert [(file.name, file.size) for file in found.files] == [
        (path.name, path.stat().st_size) for path in artifact.paths
    ]


@pytest.mark.parametrize("layer", ["up/deconv", "head/Conv2D"])
def test_a_changed_scale_is_found_in_its_layer(artifact, image, layer):
    """A scale that differs in the file: the first divergence is that layer, none before it."""

    def change(nodes, _):
        quant = next(found.quant for found in artifact.layers if found.name == layer)
        nodes[quant].attr["scale"].f *= 1.5

    edit(artifact, change)
    found = verify(artifact, {"image": image}, layers=True)
    assert not found.ok()
    assert found.first_divergence().layer == layer
    assert [problem for problem in found.problems() if problem.startswith("layer")] == [
        problem for problem in found.problems() if f'layer "{layer}"' in problem
    ]
    before = LAYERS[: LAYERS.index(layer)]
    assert {row.found.largest for row in found.layers if row.layer in before} == {0.0}
    assert {row.own.largest for row in found.layers if row.layer != layer} == {0.0}
    assert found.layers[-1].found.largest > 0


def test_one_changed_weight_code_is_found_with_a_limit_of_0(artifact, image):
    """One code of one weight: too little for the default limits, but 0 steps are 0 steps."""

    def change(nodes, _):
        deployed = next(found for found in artifact.layers if found.name == "head/Conv2D")
        const = nodes[nodes[deployed.weight_quant].input[0]]
        codes = tf.make_ndarray(const.attr["value"].tensor).copy()
        codes.flat[5] += 1 if codes.flat[5] < 127 else -1
        const.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(codes))

    edit(artifact, change)
    found = verify(artifact, {"image": image}, layers=True)
    exact = attrs.evolve(found.limits, largest=0.0, own_mean=0.0)
    assert found.first_divergence(exact).layer == "head/Conv2D"
    assert not found.ok(exact)


def test_a_renamed_layer_is_missing(artifact, image):
    """A layer that the file has under another name is named, though the results are the same."""
    edit(artifact, lambda _, graph_def: rename(graph_def, "up/deconv", "up/another"))
    found = verify(artifact, {"image": image})
    assert found.outputs[0].reference.largest == 0.0
    (problem,) = found.problems()
    assert 'layer "up/deconv"' in problem
    assert "no such node" in problem
    again = verify(artifact, {"image": image}, layers=True)
    assert again.first_divergence().layer == "up/deconv"
    assert len(again.problems()) == 1


def test_executions_are_read_from_the_file(artifact, image):
    """A layer whose quantiser is bypassed in the file is float there, whatever was exported."""

    def bypass(nodes, _):
        deployed = next(found for found in artifact.layers if found.name == "head/MatMul")
        nodes[deployed.node].input[0] = nodes[deployed.quant].input[0]

    edit(artifact, bypass)
    found = verify(artifact, {"image": image})
    kinds = {row.layer: row.execution for row in found.executions}
    assert kinds == {**dict.fromkeys(LAYERS, "int8"), "head/MatMul": "float"}
    assert "AscendQuant" in next(r.reason for r in found.executions if r.layer == "head/MatMul")


def test_layers_without_entry_stay_float_with_their_reason(trained, tmp_path, image):
    """A float model with a record of two layers: the others are listed as float, and why."""
    frozen, record = trained
    bare = tf.compat.v1.GraphDef.FromString(frozen.SerializeToString())
    for node in bare.node:
        node.attr.pop("_graphquant", None)
    two = Record({name: record[name] for name in ("head/Conv2D", "head/MatMul")})
    artifact = export_ascend(bare, ["logits"], two, tmp_path / "two")
    rows = {row.layer: row for row in verify(artifact, {"image": image}).executions}
    assert set(rows) == set(LAYERS)
    assert rows["head/MatMul"].execution == "int8"
    assert (rows["conv/Conv2D"].execution, rows["conv/Conv2D"].runtime_name) == (
        "float",
        "conv/Conv2D",
    )
    assert "record" in rows["conv/Conv2D"].reason


def test_an_artifact_is_found_on_the_disk_again(artifact, trained, image, tmp_path):
    """`open_artifact` gives what the export returned, and verifying it finds the same."""
    frozen, record = trained
    opened = open_artifact("ascend", tmp_path / "model", frozen, ["logits:0"], record)
    assert opened.paths == artifact.paths
    assert opened.layers == artifact.layers
    feeds = {"image:0": image}
    assert verify(opened, feeds, layers=True) == verify(artifact, feeds, layers=True)
    with pytest.raises(ModelFileError, match=r"other_quantized\.pb"):
        open_artifact("ascend", tmp_path / "other", frozen, ["logits"], record)


def test_batches_make_no_difference(artifact, image):
    """Batch by batch, or all at once: the same comparison; progress counts the samples."""
    done = []
    at_once = verify(artifact, {"image": image}, layers=True, batch_size=100)
    parts = verify(
        artifact,
        {"image": image},
        layers=True,
        batch_size=3,
        progress=lambda *seen: done.append(seen),
    )
    assert done == [(3, 4), (4, 4)]
    simulated, again = at_once.outputs[0].simulation, parts.outputs[0].simulation
    assert (again.step, again.values) == (simulated.step, simulated.values)
    assert again.mean == pytest.approx(simulated.mean, abs=1e-4)
    assert parts.layers == at_once.layers


def test_labels_give_the_accuracy_of_all_three(artifact, trained, image, run):
    """Share of rows whose top-1 class is the label."""
    frozen, _ = trained
    (logits,) = run(frozen, ["logits"], {"image:0": image})
    labels = logits.argmax(-1)
    labels[0] = (labels[0] + 1) % 5
    accuracy = verify(artifact, {"image": image}, labels=labels).outputs[0].accuracy
    assert (accuracy.simulation, accuracy.reference, accuracy.runtime) == (0.75, 0.75, 0.75)
    named = verify(artifact, {"image": image}, labels={"logits": labels}, batch_size=3)
    assert named.outputs[0].accuracy == accuracy
    assert verify(artifact, {"image": image}).outputs[0].accuracy is None


@pytest.mark.parametrize(
    ("labels", "error", "says"),
    [
        ([0, 1, 2], RangeError, "labels"),
        ([0, 1, 2, 3, 4], RangeError, "4 rows"),
        ([0, 1, 2, 9], RangeError, "below 5"),
        ([0, 1, 2, -1], RangeError, "0 or more"),
        ([0.5, 1, 2, 3], RangeError, "integers"),
        ({"logit": [0, 1, 2, 3]}, ConfigError, 'did you mean "logits"'),
    ],
    ids=str,
)
def test_wrong_labels_are_refused(artifact, image, labels, error, says):
    """Labels that don't fit name the output and what is allowed."""
    with pytest.raises(error, match=says):
        verify(artifact, {"image": image}, labels=labels)


def test_wrong_feeds_are_refused(artifact, image):
    """An unknown placeholder is named, and an impossible batch size."""
    with pytest.raises(ConfigError, match='did you mean "image"'):
        verify(artifact, {"imagee": image})
    with pytest.raises(ConfigError, match="batch_size"):
        verify(artifact, {"image": image}, batch_size=0)
    with pytest.raises(ConfigError, match="feeds"):
        verify(artifact, image)


def test_a_broken_file_is_named(artifact, image):
    """Missing, truncated, or with a dangling input: our error names the file."""
    content = artifact.quantized_path.read_bytes()
    artifact.quantized_path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelFileError, match=r"model_quantized\.pb"):
        verify(artifact, {"image": image})
    artifact.quantized_path.write_bytes(content)

    def dangle(nodes, _):
        nodes["up/deconv"].name = "up/another"

    edit(artifact, dangle)
    with pytest.raises(ModelFileError, match=r"model_quantized.pb.*up/deconv"):
        verify(artifact, {"image": image})
    artifact.quantized_path.unlink()
    with pytest.raises(ModelFileError, match=r"model_quantized\.pb"):
        verify(artifact, {"image": image})


def test_what_cannot_be_verified_is_refused(artifact, image):
    """No artifact, a target without runtime, and a runtime that fails, each say so."""
    with pytest.raises(ConfigError, match=r"artifact \(str\)"):
        verify("model_quantized.pb", {"image": image})
    ascend = load_registry().exporter("ascend")

    class Plugin:
        def __init__(self, exporter):
            self._exporter = exporter

        @hookimpl
        def graphquant_exporters(self):
            return [self._exporter]

    class WithoutRuntime:
        name = "ascend"
        export = ascend.export

    registry = build_registry([("plain", Plugin(WithoutRuntime()))])
    with pytest.raises(ConfigError, match='"ascend" has no runtime'):
        verify(artifact, {"image": image}, registry=registry)
    with pytest.raises(ConfigError, match=r'"ascend".*cannot open'):
        open_artifact("ascend", "x", artifact.source.model, ["logits"], {}, registry=registry)

    class Failing(WithoutRuntime):
        def runtime(self, _):
            raise RuntimeError("no kernel")

    registry = build_registry([("failing", Plugin(Failing()))])
    with pytest.raises(ModelFileError, match=r"model_quantized.pb.*no kernel"):
        verify(artifact, {"image": image}, registry=registry)

    class NotInstalled(WithoutRuntime):
        def runtime(self, _):
            raise MissingDependencyError("pip install the runtime")

    registry = build_registry([("absent", Plugin(NotInstalled()))])
    with pytest.raises(MissingDependencyError, match="pip install"):
        verify(artifact, {"image": image}, registry=registry)


def test_nan_is_a_divergence(artifact, image):
    """NaN in the file is a divergence of the layer that it starts in."""

    def change(nodes, _):
        quant = next(found.quant for found in artifact.layers if found.name == "head/MatMul")
        nodes[quant].attr["scale"].f = np.nan

    edit(artifact, change)
    found = verify(artifact, {"image": image}, layers=True)
    assert not found.ok()
    assert found.first_divergence().layer == "head/MatMul"
