"""`load_model`: every kind of model computes what it computed, as one graph that hides no layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from keras import layers

from graphquant_core.graph import plan_graph
from graphquant_export.inputs import LoadedModel, load_model

v1 = tf.compat.v1

Array = npt.NDArray[np.float32]


@attrs.frozen
class KerasCase:
    """A Keras 3 model in all its files, an input, and what Keras computes of it."""

    folder: Path
    images: Array
    expected: Array


def _run(model: LoadedModel, feeds: Mapping[str, Any], outputs: Sequence[str] = ()) -> list[Any]:
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(model.graph_def, name="")
        wanted = [f"{name}:0" for name in outputs or model.outputs]
        return session.run(wanted, {f"{name}:0": value for name, value in feeds.items()})


def _keras_model() -> Any:
    image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(image)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, name="depthwise")(x))
    x = layers.SeparableConv2D(12, 3, name="separable")(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, padding="same", name="transposed")(x)
    x = layers.AveragePooling2D(2, name="pool")(layers.BatchNormalization()(x))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(10, activation="softmax", name="probabilities")(x))


@pytest.fixture(scope="module")
def keras_case(tmp_path_factory: pytest.TempPathFactory) -> KerasCase:
    keras.utils.set_random_seed(1)
    model = _keras_model()
    random = np.random.default_rng(0)
    for variable in model.variables:
        lowest = 0.5 if "variance" in variable.name else -0.1
        variable.assign(lowest + 0.4 * random.random(variable.shape).astype(np.float32))
    folder = tmp_path_factory.mktemp("keras")
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    model.export(folder / "exported", verbose=False)
    tf.saved_model.save(model, str(folder / "saved"))
    images = random.random((4, 16, 16, 3)).astype(np.float32)
    return KerasCase(folder, images, model(images, training=False).numpy())


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "exported", "saved"])
def test_a_keras_model_computes_what_keras_computes(keras_case: KerasCase, name: str) -> None:
    """Whichever way a Keras 3 model was saved, its graph is the model in inference mode."""
    model = load_model(keras_case.folder / name)
    assert len(model.inputs) == len(model.outputs) == 1
    (found,) = _run(model, {model.inputs[0]: keras_case.images})
    np.testing.assert_allclose(found, keras_case.expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "exported", "saved"])
def test_every_layer_of_a_keras_model_is_planned(keras_case: KerasCase, name: str) -> None:
    """No layer is skipped, and each weight has the name of its Keras variable."""
    model = load_model(keras_case.folder / name)
    plan = plan_graph(model.graph())
    assert plan.skips == ()
    assert [(layer.op_type, layer.weight_source) for layer in plan.layers] == [
        ("Conv2D", "conv/kernel"),
        ("DepthwiseConv2dNative", "depthwise/kernel"),
        ("DepthwiseConv2dNative", "separable/depthwise_kernel"),
        ("Conv2D", "separable/pointwise_kernel"),
        ("Conv2DBackpropInput", "transposed/kernel"),
        ("AvgPool", None),
        ("MatMul", "probabilities/kernel"),
    ]
    assert not [node.name for node in model.graph_def.node if "PartitionedCall" in node.op]


def test_a_keras_model_names_its_inputs_and_outputs(keras_case: KerasCase) -> None:
    """A .keras file has the names of the layers, an exported one those of its signature."""
    assert load_model(keras_case.folder / "model.keras").inputs == ("image",)
    assert load_model(keras_case.folder / "model.keras").outputs == ("probabilities",)
    assert load_model(keras_case.folder / "exported").inputs == ("image",)
    assert load_model(keras_case.folder / "exported").outputs == ("output_0",)


def test_the_same_file_gives_the_same_bytes(keras_case: KerasCase) -> None:
    """Loading twice in one process changes no name and no value."""
    first, second = (load_model(keras_case.folder / "model.keras").graph_def for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_a_keras_model_with_several_inputs_and_outputs(tmp_path: Path) -> None:
    """Each output of the model is one, in order, under its layer's name."""
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    both = layers.Dense(3, name="shared")
    model = keras.Model([left, right], [both(left), layers.Add(name="sum")([left, right])])
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert loaded.inputs == ("left", "right")
    feeds = {"left": np.full((1, 4), 2, np.float32), "right": np.full((1, 4), 3, np.float32)}
    dense, total = _run(loaded, feeds)
    np.testing.assert_allclose(dense, both(feeds["left"]), rtol=1e-6)
    np.testing.assert_array_equal(total, np.full((1, 4), 5))


@pytest.mark.parametrize("layered", [True, False])
def test_other_kinds_of_keras_models(tmp_path: Path, layered: bool) -> None:
    """A Sequential model, and one whose inputs are a dict with a model inside."""
    image = keras.Input((4,), name="image")
    parts = [layers.Dense(3, activation="relu", name="first"), layers.Dense(2, name="second")]
    inner = keras.Sequential([keras.Input((4,), name="image"), *parts])
    feeds = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    model = keras.Model({"image": image}, {"scores": inner(image)}) if layered else inner
    expected = model({"image": feeds})["scores"] if layered else model(feeds)
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert (loaded.inputs, len(loaded.outputs)) == (("image",), 1)
    assert layered or loaded.outputs == ("second",)
    (found,) = _run(loaded, {"image": feeds})
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert [layer.op_type for layer in plan_graph(loaded.graph()).layers] == ["MatMul", "MatMul"]


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved"])
def test_a_keras_2_model_is_read_by_tf_keras(tmp_path: Path, name: str) -> None:
    """Where tf_keras is installed, the files that it wrote are read, too."""
    older = pytest.importorskip("tf_keras")
    image = older.Input((8, 8, 3), name="image")
    x = older.layers.BatchNormalization()(older.layers.SeparableConv2D(4, 3)(image))
    x = older.layers.Dense(2, name="scores")(older.layers.Flatten()(x))
    model = older.Model(image, x)
    model.save(tmp_path / name)
    images = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    loaded = load_model(tmp_path / name)
    (found,) = _run(loaded, {loaded.inputs[0]: images})
    np.testing.assert_allclose(found, model(images, training=False), rtol=1e-5, atol=1e-6)
    assert len(plan_graph(loaded.graph()).layers) == 3


@pytest.fixture(scope="module")
def version_1(tmp_path_factory: pytest.TempPathFactory) -> KerasCase:
    """A script of TensorFlow 1 with its optimizer: a checkpoint, and a SavedModel."""
    folder = tmp_path_factory.mktemp("version_1")
    images = np.random.default_rng(0).random((4, 8, 8, 3)).astype(np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        fed = v1.placeholder(tf.float32, [None, 8, 8, 3], "images")
        labels = v1.placeholder(tf.int64, [None], "labels")
        kernel = v1.get_variable("kernel", [3, 3, 3, 4])
        weights = v1.get_variable("weights", [256, 2], use_resource=False)
        x = tf.reshape(tf.nn.relu(tf.nn.conv2d(fed, kernel, 1, "SAME", name="conv")), [-1, 256])
        logits = tf.matmul(x, weights, name="dense")
        prediction = tf.nn.softmax(logits, name="prediction")
        loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
        v1.train.AdamOptimizer().minimize(loss)
        saver = v1.train.Saver([kernel, weights])
        session.run(v1.global_variables_initializer())
        saver.save(session, str(folder / "model"))
        v1.saved_model.simple_save(
            session, str(folder / "saved"), {"images": fed}, {"scores": prediction}
        )
        expected = session.run(prediction, {fed: images})
    return KerasCase(folder, images, expected)


@pytest.mark.parametrize("name", ["model.meta", "model.index", "model", "saved"])
def test_a_model_of_tensorflow_1_computes_what_its_session_computed(
    version_1: KerasCase, name: str
) -> None:
    """What trains is gone, and both kinds of variable are constants of their names."""
    model = load_model(version_1.folder / name)
    assert (model.inputs, model.outputs) == (("images",), ("prediction",))
    (found,) = _run(model, {"images": version_1.images})
    np.testing.assert_allclose(found, version_1.expected, rtol=1e-6)
    sources = {layer.name: layer.weight_source for layer in plan_graph(model.graph()).layers}
    assert sources == {"conv": "kernel", "dense": "weights"}
    assert not {node.op for node in model.graph_def.node} & {"ApplyAdam", "VariableV2"}


def test_a_model_that_looks_up_the_names_of_its_classes_is_loaded(tmp_path: Path) -> None:
    """As estimators export them: the table beside the scores is filled by an op of its own."""
    images = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        fed = v1.placeholder(tf.float32, [None, 4], "images")
        scores = tf.nn.softmax(tf.matmul(fed, np.eye(4, 2, dtype=np.float32), name="dense"))
        names = tf.lookup.KeyValueTensorInitializer([0, 1], ["cat", "dog"], tf.int64, tf.string)
        named = tf.lookup.StaticHashTable(names, "none").lookup(tf.argmax(scores, -1))
        v1.saved_model.simple_save(
            session,
            str(tmp_path / "saved"),
            {"images": fed},
            {"scores": tf.identity(scores, "scores"), "names": tf.identity(named, "names")},
            legacy_init_op=v1.tables_initializer(),
        )
        expected = session.run(scores, {fed: images})
    assert set(load_model(tmp_path / "saved").outputs) == {"scores", "names"}
    (found,) = _run(load_model(tmp_path / "saved", ["scores"]), {"images": images})
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_outputs_cut_the_graph(version_1: KerasCase) -> None:
    """What the given outputs don't need is gone."""
    for name in ("model.meta", "saved"):
        model = load_model(version_1.folder / name, outputs=["conv:0"])
        assert model.outputs == ("conv",)
        assert "dense" not in {node.name for node in model.graph_def.node}


@pytest.mark.parametrize("use_resource", [True, False])
def test_batch_norm_of_a_training_graph_is_read_for_inference(
    tmp_path: Path, use_resource: bool
) -> None:
    """The moving averages that the training graph updates take the place of the batch's."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, [None, 6, 6, 2], "images")
        x = tf.nn.conv2d(images, random.normal(size=(3, 3, 2, 4)), 1, "SAME", name="conv")
        start = {"mean": v1.zeros_initializer(), "variance": v1.ones_initializer()}
        gamma, beta, mean, variance = (
            v1.get_variable(name, [4], initializer=start.get(name), use_resource=use_resource)
            for name in ("gamma", "beta", "mean", "variance")
        )
        y, batch_mean, batch_variance = v1.nn.fused_batch_norm(x, gamma, beta, epsilon=1e-3)
        updates = [
            v1.assign_sub(average, (average - batch) * 0.1)
            for average, batch in ((mean, batch_mean), (variance, batch_variance))
        ]
        tf.nn.relu(y, name="result")
        session.run(v1.global_variables_initializer())
        for _ in range(3):
            session.run(updates, {images: random.normal(2, 3, (8, 6, 6, 2))})
        v1.train.Saver().save(session, str(tmp_path / "model"))
        fed = random.normal(size=(3, 6, 6, 2)).astype(np.float32)
        before, *values = session.run([x, gamma, beta, mean, variance], {images: fed})
    model = load_model(tmp_path / "model.meta", outputs=["result"])
    (found,) = _run(model, {"images": fed})
    gamma, beta, mean, variance = (np.float64(value) for value in values)
    expected = (before - mean) * gamma / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-4, atol=1e-5)


def test_batch_norm_without_moving_averages_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A frozen graph whose batch norm is in training mode is loaded, and the layer named."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 6, 6, 2], "images")
        v1.nn.fused_batch_norm(x, [1.0, 2.0], [0.0, 1.0], name="norm")
    (tmp_path / "model.pb").write_bytes(graph.as_graph_def().SerializeToString())
    load_model(tmp_path / "model.pb")
    assert "is in training mode" in caplog.text
    assert "norm" in caplog.text
