"""Layers of a Keras model are called as in the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from graphquant_core.graph import plan_graph
from graphquant_core.graph.frozen import import_frozen
from graphquant_export.inputs import load_model

v1 = tf.compat.v1


def by_default_names() -> Any:
    """Keras numbers layers of one type: conv2d, conv2d_1, conv2d_2."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            *(layers.Conv2D(4, 3) for _ in range(3)),
            layers.Flatten(),
            layers.Dense(3),
            layers.Dense(2),
        ],
        name="numbered",
    )


def by_numbered_names() -> Any:
    """Names that look like the numbers that TensorFlow gives, called in another order."""
    image = keras.Input((8, 8, 3), name="image")
    last = layers.Conv2D(4, 3, name="conv_2")(image)
    first = layers.Conv2D(4, 3, name="conv")(image)
    middle = layers.Conv2D(4, 3, name="conv_1")(layers.Add(name="conv_3")([first, last]))
    return keras.Model(image, layers.Conv2D(4, 3, name="conv_1_1")(middle), name="net_1")


def nested() -> Any:
    """Models in models, with the same names on every floor."""
    inner = keras.Sequential(
        [layers.Conv2D(4, 1, name="conv"), layers.ReLU(name="conv_1")], name="net"
    )
    image = keras.Input((8, 8, 3), name="image")
    y = inner(layers.Conv2D(4, 1, name="conv")(image))
    return keras.Model(image, layers.Conv2D(2, 1, name="conv_1")(y), name="net")


def with_layers_in_a_layer() -> Any:
    """Attention holds its projections."""
    tokens = keras.Input((6, 8), name="tokens")
    y = layers.MultiHeadAttention(2, 4, name="attention")(tokens, tokens)
    y = layers.Dense(5, name="dense")(layers.Flatten(name="flat")(y))
    return keras.Model(tokens, y, name="net")


MODELS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "default": (
        by_default_names,
        [
            *(f"numbered/conv2d{end}/convolution" for end in ("", "_1", "_2")),
            *(f"numbered/dense{end}/MatMul" for end in ("", "_1")),
        ],
    ),
    "numbered": (
        by_numbered_names,
        [f"net_1/conv{end}/convolution" for end in ("_2", "", "_1", "_1_1")],
    ),
    "nested": (
        nested,
        [f"net/{name}/convolution" for name in ("conv", "net/conv", "conv_1")],
    ),
    "in a layer": (with_layers_in_a_layer, ["net/dense/MatMul"]),
}


def rows(path: Path) -> list[str]:
    return [row.name for row in plan_graph(import_frozen(load_model(path).graph_def)).rows]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_layers_have_the_names_of_the_model(name: str, ending: str, tmp_path: Path) -> None:
    """No scope has a number that the user didn't give it."""
    keras.backend.clear_session()
    build, expected = MODELS[name]
    model = build()
    model.save(tmp_path / f"model.{ending}")
    loaded = load_model(tmp_path / f"model.{ending}")
    planned = [row for row in rows(tmp_path / f"model.{ending}") if "attention" not in row]
    assert sorted(planned) == sorted(expected)
    names = {layer.name for layer in model._flatten_layers()}
    scopes = [node.name.split("/")[:-1] for node in loaded.graph_def.node]
    assert {scope[0] for scope in scopes if scope} <= names
    assert {scope[1] for scope in scopes if scope[1:] and scope[0] == model.name} <= names


def test_a_layer_that_is_called_twice_has_its_name_and_a_number(tmp_path: Path) -> None:
    """The second call comes out as ``_1``, or the next number that no layer has."""
    image = keras.Input((8, 8, 3), name="image")
    shared = layers.Conv2D(3, 1, name="shared")
    y = layers.Conv2D(3, 1, name="shared_1")(shared(shared(image)))
    keras.Model(image, y, name="net").save(tmp_path / "m.keras")
    found = rows(tmp_path / "m.keras")
    assert sorted(found) == sorted(
        f"net/{name}/convolution" for name in ("shared", "shared_1", "shared_2")
    )


def test_names_change_nothing_of_what_is_computed(tmp_path: Path) -> None:
    """Layers of one name keep their own weights."""
    keras.utils.set_random_seed(3)
    model = by_numbered_names()
    model.save(tmp_path / "m.keras")
    loaded = load_model(tmp_path / "m.keras")
    image = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(loaded.graph_def, name="")
        (found,) = session.run([f"{loaded.outputs[0]}:0"], {"image:0": image})
    np.testing.assert_allclose(found, model.predict(image, verbose=0), rtol=1e-5, atol=1e-6)


def test_scopes_of_keras_2_stay_as_they_are(tmp_path: Path) -> None:
    """It enters a scope once: ``net/dense_1`` is that layer, and no second call of ``dense``."""
    keras_2: Any = pytest.importorskip("tf_keras")
    tokens = keras_2.Input((6, 8), name="tokens")
    y = keras_2.layers.TimeDistributed(keras_2.layers.Dense(4, name="dense"), name="each")(tokens)
    y = keras_2.layers.Dense(5, name="dense_1")(keras_2.layers.Flatten(name="flat")(y))
    model = keras_2.Model(tokens, keras_2.layers.Dense(3, name="dense_12")(y), name="net")
    model.save(tmp_path / "m.keras")
    assert rows(tmp_path / "m.keras") == [
        "net/each/dense/MatMul",
        "net/dense_1/MatMul",
        "net/dense_12/MatMul",
    ]
