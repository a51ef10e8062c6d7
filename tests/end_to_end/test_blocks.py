"""What networks are built of, from Keras to each target: one model with a block an output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812 - as in Keras' own code

import graphquant_export as gq

SIZE, CHANNELS = 8, 8
Tensor = Any


def inverted_residual(x: Tensor) -> Tensor:
    """Of MobileNetV2: expanded, by channel, and back without an activation function."""
    y = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(4 * CHANNELS, 1, use_bias=False)(x)))
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
    y = L.ReLU(6.0)(L.BatchNormalization()(y))
    return x + L.BatchNormalization()(L.Conv2D(CHANNELS, 1, use_bias=False)(y))


def squeeze_and_excite(x: Tensor) -> Tensor:
    """Of MobileNetV3 and EfficientNet, with its hard functions and swish."""
    y = L.Activation("hard_swish")(L.Conv2D(CHANNELS, 3, padding="same")(x))
    gate = L.GlobalAveragePooling2D(keepdims=True)(y)
    gate = L.Conv2D(CHANNELS, 1)(L.Conv2D(4, 1, activation="relu")(gate))
    y = y * L.Activation("hard_sigmoid")(gate)
    gate = L.Reshape((1, 1, CHANNELS))(L.GlobalAveragePooling2D()(y))
    gate = L.Conv2D(CHANNELS, 1, activation="sigmoid")(L.Conv2D(4, 1, activation="swish")(gate))
    return L.Multiply()([y, gate])


def dense_block(x: Tensor) -> Tensor:
    """Of DenseNet: batch norm in front, joined with everything before."""
    for _ in range(3):
        y = L.Conv2D(12, 1, use_bias=False)(L.ReLU()(L.BatchNormalization()(x)))
        y = L.ReLU()(L.BatchNormalization()(y))
        x = L.Concatenate()([x, L.Conv2D(4, 3, padding="same", use_bias=False)(y)])
    return L.AveragePooling2D(2)(L.Conv2D(CHANNELS, 1)(L.ReLU()(L.BatchNormalization()(x))))


def convnext_block(x: Tensor) -> Tensor:
    """A convolution with a group for each channel, layer norm, dense layers, GELU and a scale."""
    y = L.Conv2D(CHANNELS, 7, padding="same", groups=CHANNELS)(x)
    y = L.Dense(4 * CHANNELS, activation="gelu")(L.LayerNormalization(epsilon=1e-6)(y))
    scale = np.linspace(0.5, 1.5, CHANNELS, dtype=np.float32)
    return x + L.Dense(CHANNELS)(y) * scale


def shuffled(x: Tensor) -> Tensor:
    """Of ShuffleNet: convolutions in groups, and channels that change places between them."""
    y = L.ReLU()(L.Conv2D(CHANNELS, 1, groups=2)(x))
    y = L.Permute((1, 2, 4, 3))(L.Reshape((SIZE, SIZE, 2, CHANNELS // 2))(y))
    y = L.DepthwiseConv2D(3, padding="same")(L.Reshape((SIZE, SIZE, CHANNELS))(y))
    y = L.Conv2D(CHANNELS, 1, groups=2)(y)
    return L.ReLU()(L.Concatenate()([x, y]))


def separable(x: Tensor) -> Tensor:
    """Of Xception and NASNet: separable convolutions beside a pooled shortcut."""
    y = L.BatchNormalization()(L.SeparableConv2D(12, 3, padding="same")(L.ReLU()(x)))
    y = L.MaxPooling2D(3, 2, "same")(L.SeparableConv2D(12, 5, padding="same")(L.ReLU()(y)))
    return y + L.BatchNormalization()(L.Conv2D(12, 1, 2, use_bias=False)(x))


BLOCKS: tuple[Callable[[Tensor], Tensor], ...] = (
    *(inverted_residual, squeeze_and_excite, dense_block),
    *(convnext_block, shuffled, separable),
)


def images(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, SIZE, SIZE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> gq.LoadedModel:
    """The model, whose batch norms have the statistics of its data."""
    keras.utils.set_random_seed(7)
    x = L.Input((SIZE, SIZE, 3), name="images")
    stem = L.ReLU()(L.Conv2D(CHANNELS, 3, padding="same", name="stem")(x))
    network = keras.Model(x, {block.__name__: block(stem) for block in BLOCKS})
    for layer in network.layers:
        if isinstance(layer, L.BatchNormalization):
            layer.momentum = 0.0
    network(images(64, 0), training=True)
    path = tmp_path_factory.mktemp("blocks") / "model.keras"
    network.save(path)
    return gq.load_model(path)


@pytest.mark.parametrize("target", ["ascend", "onnx", "litert", "mnn"])
def test_each_block_is_right_in_its_runtime(
    tmp_path: Any, model: gq.LoadedModel, target: str
) -> None:
    """Every layer is int8 and computes what is meant, and every output is near the float one."""
    samples = {"images": images(64, 1)}
    record = gq.quantize(model, samples, target)
    artifact = gq.export(model, record, target, tmp_path / "m", samples=samples)
    found = gq.verify(artifact, {"images": images(32, 2)}, layers=True)
    assert found.problems() == ()
    floats = [row.layer for row in found.executions if row.execution != "int8"]
    # MNN averages in float.
    assert all(target == "mnn" and name.endswith("AvgPool") for name in floats)
    for output in found.outputs:
        assert output.float_model is not None
        assert (output.float_model.sqnr or 100) > 20, output.output
    assert len(found.outputs) == len(BLOCKS)
