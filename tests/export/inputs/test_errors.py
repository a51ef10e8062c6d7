"""What `load_model` says about a path that it cannot use."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import (
    ConfigError,
    GraphQuantError,
    MissingDependencyError,
    ModelFileError,
    NonFiniteError,
    OutputNotFoundError,
)
from graphquant_export.inputs import load_model

v1 = tf.compat.v1


def _graph_def(weight: float = 1.0) -> tf.compat.v1.GraphDef:
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 2], "x")
        tf.nn.softmax(tf.matmul(x, np.full((2, 3), weight, np.float32), name="dense"), name="prob")
    return graph.as_graph_def()


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _refusal(path: object, **arguments: object) -> GraphQuantError:
    with pytest.raises(GraphQuantError) as caught:
        load_model(path, **arguments)  # type: ignore[arg-type]
    assert f"({path})" in str(caught.value) or not isinstance(caught.value, ModelFileError)
    return caught.value


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cut.pb", _graph_def().SerializeToString()[:-7], "is not a GraphDef"),
        ("noise.pb", b"\xff" * 100, "is not a GraphDef"),
        ("empty.pb", b"", "not a GraphDef with nodes"),
        ("cut.pbtxt", str(_graph_def()).encode()[:-9], "is not a GraphDef"),
        ("model.onnx", b"onnx", "ONNX's format"),
        ("model.tflite", b"tflite", "LiteRT's format"),
        ("folder/saved_model.txt", b"", "no SavedModel"),
        ("cut.keras", b"PK", "cannot be loaded"),
        ("cut.h5", b"HDF", "cannot be loaded"),
        ("alone.meta", b"", "without its values"),
    ],
)
def test_a_broken_model_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    """A file or folder that is no model: ModelFileError with its path and the reason."""
    written = _write(tmp_path / name, content)
    path = written.parent if "/" in name else written
    error = _refusal(path)
    assert isinstance(error, ModelFileError)
    assert says in str(error)


@pytest.mark.parametrize(("package", "name"), [("keras", "w.weights.h5"), ("tf_keras", "w.h5")])
def test_weights_without_their_model_are_called_that(
    tmp_path: Path, package: str, name: str
) -> None:
    """What `save_weights` wrote is refused with the way from it to a model."""
    keras = importlib.import_module(package)
    keras.Sequential([keras.layers.Input([4]), keras.layers.Dense(2)]).save_weights(tmp_path / name)
    assert "build the model in Python, load them" in str(_refusal(tmp_path / name))


def test_a_truncated_saved_model_is_a_model_file_error(tmp_path: Path) -> None:
    """A SavedModel whose proto is cut short is refused by name."""
    module = tf.Module()
    module.f = tf.function(lambda x: x + 1, [tf.TensorSpec([], tf.float32)], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    proto = tmp_path / "saved" / "saved_model.pb"
    proto.write_bytes(proto.read_bytes()[:-100])
    assert isinstance(_refusal(tmp_path / "saved"), ModelFileError)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
def test_a_cut_off_file_is_one_line(tmp_path: Path, share: float) -> None:
    """However much of any file of a SavedModel or a checkpoint is missing: one line, no crash."""
    module = tf.Module()
    module.weight = tf.Variable(np.ones((20, 3), np.float32))
    module.f = tf.function(
        lambda x: tf.matmul(x, module.weight), [tf.TensorSpec([None, 20])], autograph=False
    )
    tf.saved_model.save(module, str(tmp_path / "saved"))
    with tf.Graph().as_default(), v1.Session() as session:
        weight = v1.get_variable("weight", [20, 3])
        tf.matmul(v1.placeholder(tf.float32, [None, 20], "x"), weight, name="y")
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model"))
    models = {
        tmp_path / "saved": (tmp_path / "saved").rglob("*[bx0]*"),
        tmp_path / "model.meta": tmp_path.glob("model.*"),
    }
    for model, paths in models.items():
        for path in sorted(path for path in paths if path.is_file()):
            content = path.read_bytes()
            path.write_bytes(content[: int(share * len(content))])
            if path.name != "fingerprint.pb":
                assert "\n" not in str(_refusal(model)), path
            path.write_bytes(content)
        load_model(model)


def test_a_missing_path_is_refused_without_tensorflow(tmp_path: Path) -> None:
    """A path that does not exist, or is in no known format, is found out in milliseconds."""
    script = (
        "import sys\nfrom graphquant_export.inputs import load_model\n"
        "try:\n    load_model(sys.argv[1])\n"
        "except ValueError as error:\n    print(error)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "missing.pb"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "No such file" in done.stdout


def test_a_folder_above_the_model_is_told_where_it_is(tmp_path: Path) -> None:
    """The SavedModel or the checkpoint inside of a folder is suggested."""
    _write(tmp_path / "served" / "1" / "saved_model.pb", b"")
    assert f'did you mean "{tmp_path / "served" / "1"}"?' in str(_refusal(tmp_path / "served"))
    _write(tmp_path / "steps" / "model-7.meta", b"")
    assert 'model-7.meta"?' in str(_refusal(tmp_path / "steps"))


def test_a_wrong_output_is_answered_with_the_closest(tmp_path: Path) -> None:
    """An unknown op among the outputs: OutputNotFoundError with the closest name."""
    path = _write(tmp_path / "model.pb", _graph_def().SerializeToString())
    error = _refusal(path, outputs=["probs"])
    assert isinstance(error, OutputNotFoundError)
    assert 'did you mean "prob"?' in str(error)


def test_outputs_must_be_a_list(tmp_path: Path) -> None:
    """A lone name or an empty list isn't taken for a list of names."""
    path = _write(tmp_path / "model.pb", _graph_def().SerializeToString())
    for outputs in ("prob", []):
        with pytest.raises(OutputNotFoundError, match="must be a list"):
            load_model(path, outputs=outputs)


def test_a_graph_without_data_has_no_outputs(tmp_path: Path) -> None:
    """A graph of constants alone is answered with what is missing."""
    with tf.Graph().as_default() as graph:
        tf.constant(1.0) + 1.0
    path = _write(tmp_path / "model.pb", graph.as_graph_def().SerializeToString())
    assert isinstance(_refusal(path), OutputNotFoundError)


def test_nan_in_a_weight_is_an_error_that_names_it(tmp_path: Path) -> None:
    """NaN in a constant or in a variable is found before anything is done with the model."""
    path = _write(tmp_path / "model.pb", _graph_def(float("nan")).SerializeToString())
    error = _refusal(path)
    assert isinstance(error, NonFiniteError)
    assert "6 of 6" in str(error)
    with tf.Graph().as_default(), v1.Session() as session:
        weight = v1.get_variable("weight", initializer=np.array([1.0, np.inf], np.float32))
        tf.multiply(v1.placeholder(tf.float32, [2], "x"), weight, name="y")
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model"))
    error = _refusal(tmp_path / "model.meta")
    assert isinstance(error, NonFiniteError)
    assert '"weight"' in str(error)


def test_infinity_in_a_mask_is_no_error(tmp_path: Path) -> None:
    """A frozen graph may add minus infinity to what is to be ignored."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [2], "x")
        tf.nn.softmax(x + np.array([0, -np.inf], np.float32), name="prob")
    path = _write(tmp_path / "model.pb", graph.as_graph_def().SerializeToString())
    assert load_model(path).outputs == ("prob",)


def test_an_unfrozen_graph_is_refused(tmp_path: Path) -> None:
    """A GraphDef with variables names one, and the file."""
    with tf.Graph().as_default() as graph:
        v1.placeholder(tf.float32, [2], "x") * v1.get_variable("weight", [2])
    path = _write(tmp_path / "model.pb", graph.as_graph_def().SerializeToString())
    assert '"weight" is a variable' in str(_refusal(path))


def test_candidates_are_listed_when_a_checkpoint_has_several_ends(tmp_path: Path) -> None:
    """Without a signature, two ops that nothing takes are two candidates, not a guess."""
    with tf.Graph().as_default(), v1.Session() as session:
        weight = v1.get_variable("weight", [2, 2])
        y = tf.matmul(v1.placeholder(tf.float32, [None, 2], "x"), weight)
        tf.nn.softmax(y, name="prob")
        tf.nn.relu(y, name="features")
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "model"))
    error = _refusal(tmp_path / "model.meta")
    assert isinstance(error, OutputNotFoundError)
    assert '"prob", "features"' in str(error)
    assert load_model(tmp_path / "model.meta", outputs=["prob"]).outputs == ("prob",)


def test_a_signature_is_looked_up_and_only_in_a_saved_model(tmp_path: Path) -> None:
    """A wrong signature is answered with the closest; a GraphDef has none."""
    module = tf.Module()
    module.f = tf.function(lambda x: x + 1, [tf.TensorSpec([], tf.float32)], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "saved"), {"classify": module.f, "embed": module.f})
    assert 'did you mean "classify"?' in str(_refusal(tmp_path / "saved", signature="clasify"))
    assert 'there: "classify", "embed"' in str(_refusal(tmp_path / "saved"))
    assert load_model(tmp_path / "saved", signature="embed").outputs == ("output_0",)
    path = _write(tmp_path / "model.pb", _graph_def().SerializeToString())
    assert isinstance(_refusal(path, signature="classify"), ConfigError)


def test_missing_tensorflow_names_the_install_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TensorFlow the error says what to install."""
    path = _write(tmp_path / "model.pb", _graph_def().SerializeToString())
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingDependencyError, match='pip install "tensorflow'):
        load_model(path)


def test_a_graph_text_is_read_as_its_binary(tmp_path: Path) -> None:
    """.pbtxt and .pb give the same model."""
    binary = _write(tmp_path / "model.pb", _graph_def().SerializeToString())
    text = _write(tmp_path / "model.pbtxt", str(_graph_def()).encode())
    assert load_model(text).graph_def == load_model(binary).graph_def
