"""The runtime of a .tflite file: it reads the file, whatever was asked for."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from graphquant_core.exceptions import (
    ConfigError,
    MissingDependencyError,
    ModelFileError,
    OutputNotFoundError,
    RangeError,
)
from graphquant_export.quantized.simulate import simulate
from graphquant_export.targets.litert import LiteRtRuntime, export_litert
from graphquant_export.targets.litert.schema import model_bytes, read_model

pytest.importorskip("ai_edge_litert", reason='needs pip install "graphquant-export[litert]"')
v1 = tf.compat.v1


@pytest.fixture
def artifact(trained, image, tmp_path):
    """The export of `trained`, int8 throughout."""
    frozen, record = trained
    feeds = {"image": image}
    return export_litert(frozen, ["logits"], record, tmp_path / "model", calibration=feeds)


def edit(artifact, change):
    """Writes the file anew after `change` has seen its tensors by name."""
    model = read_model(artifact.model_path.read_bytes())
    change({tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors})
    artifact.model_path.write_bytes(model_bytes(model))


def parting_layers(artifact, image):
    """The layers whose result is more than a step from the simulation, on average."""
    source = artifact.source
    simulated = simulate(source.model, source.outputs, source.record)
    found = LiteRtRuntime(artifact).layer_outputs({"image": image})
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(simulated.graph_def, name="")
    with v1.Session(graph=graph) as session:
        values = session.run(
            {name: f"{output.tensor}:0" for name, output in found.items()}, {"image:0": image}
        )
    parting = []
    for name, output in found.items():
        assert output.value.shape == values[name].shape
        codes = np.rint(output.value / output.step)
        wanted = np.clip(np.rint(values[name] / output.step), codes.min(), codes.max())
        if np.abs(codes - wanted).mean() > 1:
            parting.append(name)
    return parting


def test_every_layer_is_beside_its_node_of_the_simulation(artifact, image):
    """Shape and value of each layer's result are those of the node that it names."""
    assert parting_layers(artifact, image) == []


@pytest.mark.parametrize("layer", ["conv/Conv2D", "up/deconv", "head/MatMul"])
def test_a_changed_scale_parts_at_that_layer(artifact, image, layer):
    """A weight scale that differs in the file: that layer is the first whose result differs."""

    def change(tensors):
        tensors[f"{layer}:weight"].quantization.scale = (
            tensors[f"{layer}:weight"].quantization.scale * 1.3
        )

    edit(artifact, change)
    assert parting_layers(artifact, image)[0] == layer


def test_a_renamed_layer_is_missing_by_its_name(artifact, image):
    """The file's own names decide: what has another name there is not the layer."""

    def change(tensors):
        tensors["up/deconv:weight"].name = b"up/decnov:weight"

    edit(artifact, change)
    runtime = LiteRtRuntime(artifact)
    rows = {row.layer: row for row in runtime.executions()}
    assert rows["up/deconv"].execution == "missing"
    assert rows["up/deconv"].runtime_name is None
    assert '"up/deconv:weight"' in rows["up/deconv"].reason
    assert [row.layer for row in rows.values() if row.execution == "missing"] == ["up/deconv"]
    assert "up/deconv" not in runtime.layer_outputs({"image": image})


def test_executions_say_what_the_file_does(artifact):
    """A layer whose weight is float in the file is no int8 layer, whatever was exported."""

    def change(tensors):
        tensors["head/Conv2D:weight"].type = schema.TensorType.FLOAT32

    edit(artifact, change)
    rows = {row.layer: row.execution for row in LiteRtRuntime(artifact).executions()}
    assert rows["head/Conv2D"] == "float"
    assert rows["head/MatMul"] == "int8"


def test_wrong_feeds_and_outputs_are_refused_by_name(artifact, image):
    """One error that names the placeholder or the output, and what there is."""
    runtime = LiteRtRuntime(artifact)
    with pytest.raises(OutputNotFoundError, match='did you mean "logits"'):
        runtime.run({"image": image}, ["logit"])
    with pytest.raises(OutputNotFoundError, match="logits"):
        runtime.output_step("probability")
    with pytest.raises(ConfigError, match='did you mean "image"'):
        runtime.run({"imge": image}, ["logits"])
    with pytest.raises(RangeError, match="image"):
        runtime.run({"image": image[0]}, ["logits"])


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_may_have_any_size(artifact, image, batch):
    """Samples are computed one for one, in a batch or alone."""
    runtime = LiteRtRuntime(artifact)
    whole = runtime.run({"image": image}, ["logits"])["logits"]
    part = runtime.run({"image": image[:batch]}, ["logits"])["logits"]
    np.testing.assert_array_equal(part, whole[:batch])


def test_a_broken_file_is_an_error_with_its_name(artifact, image):
    """A missing, foreign or damaged file doesn't reach the interpreter, or is refused by it."""
    content = artifact.model_path.read_bytes()
    artifact.model_path.write_bytes(b"????????")
    with pytest.raises(ModelFileError, match=r"model\.tflite.* is not a \.tflite file"):
        LiteRtRuntime(artifact)
    artifact.model_path.write_bytes(content[:40])
    with pytest.raises(ModelFileError, match=r"model\.tflite"):
        LiteRtRuntime(artifact).run({"image": image}, ["logits"])
    artifact.model_path.unlink()
    with pytest.raises(ModelFileError, match=r"model\.tflite"):
        LiteRtRuntime(artifact)


def test_without_the_wheel_the_export_works_and_the_runtime_says_what_to_install(
    trained, image, tmp_path, monkeypatch
):
    """MissingDependencyError names the extra."""
    frozen, record = trained
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    feeds = {"image": image}
    artifact = export_litert(frozen, ["logits"], record, tmp_path / "model", calibration=feeds)
    with pytest.raises(MissingDependencyError, match=r'pip install "graphquant-export\[litert\]"'):
        LiteRtRuntime(artifact)
