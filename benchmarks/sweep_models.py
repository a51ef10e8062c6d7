"""The models of the sweep: architectures that packages ship, with seeded weights and samples.

`python -m benchmarks.sweep_models NAME FOLDER` writes one of them into FOLDER, with
calibration.npz and samples.npz. There are no trained weights: those of layers are drawn as He et
al. initialise them, biases and what norms multiply and add are drawn, too, and batch norms have
the statistics of photographs.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import numpy as np
import skimage
from skimage.io import imread

PHOTOGRAPHS = (
    "astronaut.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "hubble_deep_field.jpg",
    "ihc.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip
CALIBRATION, SAMPLES = 32, 32

SIZE = 64
"""Sides of an image: the last maps of most architectures are then 2 x 2."""
LARGER = {
    "InceptionV3": 96, "InceptionResNetV2": 96, "Xception": 96, "slim_inception_v3": 107,
    "slim_inception_v1": 224, "slim_alexnet_v2": 224, "slim_vgg_a": 224, "slim_vgg_16": 224,
    "slim_vgg_19": 224, "slim_overfeat": 231,
}  # fmt: skip
"""What is as small as the architecture takes."""

KERAS = (
    "MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0",
    "NASNetMobile", "DenseNet121", "ResNet50", "ResNet50V2", "Xception", "InceptionV3",
    "EfficientNetV2B0", "ConvNeXtTiny", "VGG16", "EfficientNetB1", "EfficientNetB2",
    "EfficientNetV2B1", "EfficientNetV2B2", "DenseNet169", "DenseNet201", "ResNet101",
    "ResNet101V2", "VGG19", "InceptionResNetV2", "EfficientNetB3", "EfficientNetV2B3",
    "ConvNeXtSmall", "ResNet152", "ResNet152V2", "EfficientNetV2S", "EfficientNetB4",
    "EfficientNetB5", "NASNetLarge", "EfficientNetB6", "EfficientNetV2M", "ConvNeXtBase",
    "EfficientNetB7", "EfficientNetV2L", "ConvNeXtLarge", "ConvNeXtXLarge",
)  # fmt: skip
"""All of keras.applications, the quick ones first."""
KERAS_2 = ("RegNetX002", "RegNetY002", "ResNetRS50", "RegNetX032", "RegNetY032", "ResNetRS101")
"""What tf_keras.applications has besides: the smallest of each family, and a larger one."""
SLIM = (
    "slim_inception_v1", "slim_inception_v2", "slim_resnet_v1_50", "slim_resnet_v2_50",
    "slim_alexnet_v2", "slim_inception_v3", "slim_vgg_a", "slim_vgg_16", "slim_vgg_19",
    "slim_resnet_v1_101", "slim_resnet_v1_152", "slim_resnet_v1_200", "slim_resnet_v2_101",
    "slim_resnet_v2_152", "slim_resnet_v2_200", "slim_overfeat",
)  # fmt: skip
"""All of tf_slim.nets."""
NAMES = (*KERAS[:14], *KERAS_2[:3], *SLIM[:5], *KERAS[14:], *KERAS_2[3:], *SLIM[5:])
FILES = {**dict.fromkeys(KERAS, "model.keras"), **dict.fromkeys(KERAS_2, "model.h5")}
"""What the model's file is called; ``model.pb`` for the others."""


def model_file(name: str) -> str:
    """What the file of the model called `name` is called."""
    return FILES.get(name, "model.pb")


def photographs(size: int, count: int, random: np.random.Generator) -> np.ndarray:
    """Pieces of photographs, float32 ``[count, size, size, 3]``, from 0 to 255."""
    folder = Path(skimage.__file__).parent / "data"
    found = []
    for index in range(count):
        pixels = imread(folder / PHOTOGRAPHS[index % len(PHOTOGRAPHS)]).astype(np.float32)
        colours = pixels[..., :3] if pixels.ndim > 2 else pixels[..., None].repeat(3, -1)
        stride = max(min(2, min(colours.shape[:2]) // size), 1)
        side = size * stride
        if min(colours.shape[:2]) < side:
            colours = np.resize(colours, (side, side, 3))
        top, left = (int(random.integers(0, length - side + 1)) for length in colours.shape[:2])
        piece = colours[top : top + side, left : left + side]
        found.append(piece.reshape(size, stride, size, stride, 3).mean((1, 3)))
    return np.stack(found).astype(np.float32)


def drawn(
    name: str, shape: tuple[int, ...], random: np.random.Generator, depthwise: bool = False
) -> np.ndarray:
    """Values for a variable called `name`, alive and different in each channel."""
    if len(shape) > 1:
        inputs = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
        return (random.normal(size=shape) * np.sqrt(2 / inputs)).astype(np.float32)
    if name.endswith("variance"):
        return np.ones(shape, np.float32)
    if "gamma" in name:
        return random.normal(1, 0.1, shape).astype(np.float32)
    # Around 0, rectifiers behind batch norms of random layers double noise with each few layers,
    # which trained ones don't: what comes out of such a network says nothing of its arithmetic.
    return random.normal(1 if "beta" in name else 0, 0.1, shape).astype(np.float32)


def main() -> None:
    """Write one model and its samples."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("name", choices=NAMES, metavar="NAME")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    maker = "sweep_slim" if arguments.name in SLIM else "sweep_keras"
    size = LARGER.get(arguments.name, SIZE)
    write = importlib.import_module(f"benchmarks.{maker}").write
    prepared, input_name = write(arguments.name, size, arguments.folder)
    random = np.random.default_rng(1)
    for file, count in (("calibration", CALIBRATION), ("samples", SAMPLES)):
        images = prepared(photographs(size, count, random))
        np.savez(arguments.folder / f"{file}.npz", **{input_name: images})


if __name__ == "__main__":
    main()
