"""Patches of the photographs that scikit-image's wheel holds; which of them is each one from.

Every photograph is cut into bands of 32 rows; the bands take turns at training and at testing, and
the patches of a band lie within it, so that no pixel is in both.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage
from skimage.io import imread

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "moon.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
SIZE = 24
BAND = 32
TRAINING, TESTING = 400, 200


class Patches(NamedTuple):
    """Images float32 [N, SIZE, SIZE, 1] and their labels int64 [N]."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load() -> Patches:
    """The same patches each time, values from -1 to 1."""
    random = np.random.default_rng(0)
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name in PHOTOGRAPHS:
        photograph = _grey(name)
        for side, count in enumerate((TRAINING, TESTING)):
            parts[side].append(_cut(photograph, side, count, random))
    train, test = (np.concatenate(part) for part in parts)
    classes = np.arange(len(PHOTOGRAPHS))
    return Patches(train, classes.repeat(TRAINING), test, classes.repeat(TESTING))


class TestPatches(NamedTuple):
    """Images float32 [N, SIZE, SIZE, 1], their labels int64 [N], and the band of each, int64 [N].

    A band's number is its own among those of all photographs: what lies in one is alike.
    """

    images: np.ndarray
    labels: np.ndarray
    bands: np.ndarray


def test_patches(count: int) -> TestPatches:
    """`count` different patches of each photograph's bands for testing, the same each time."""
    random = np.random.default_rng(1)
    images, bands = [], []
    for number, name in enumerate(PHOTOGRAPHS):
        photograph = _grey(name)
        height, width = photograph.shape
        shape = (len(range(1, height // BAND, 2)), BAND - SIZE + 1, width - SIZE + 1)
        chosen = random.choice(int(np.prod(shape)), count, replace=False)
        places, inside, lefts = np.unravel_index(chosen, shape)
        images.append(_patches(photograph, (2 * places + 1) * BAND + inside, lefts))
        bands.append(1000 * number + places)
    numbers = np.unique(np.concatenate(bands), return_inverse=True)[1]
    classes = np.arange(len(PHOTOGRAPHS)).repeat(count)
    return TestPatches(np.concatenate(images), classes, numbers)


def _grey(name: str) -> np.ndarray:
    pixels = imread(Path(skimage.__file__).parent / "data" / name).astype(np.float32)
    return pixels if pixels.ndim == 2 else pixels[..., :3].mean(-1)


def _cut(photograph: np.ndarray, side: int, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` patches from every other band, the first or the second of each pair."""
    height, width = photograph.shape
    bands = np.arange(side, height // BAND, 2)
    tops = random.choice(bands, count) * BAND + random.integers(0, BAND - SIZE + 1, count)
    lefts = random.integers(0, width - SIZE + 1, count)
    return _patches(photograph, tops, lefts)


def _patches(photograph: np.ndarray, tops: np.ndarray, lefts: np.ndarray) -> np.ndarray:
    patches = np.stack(
        [
            photograph[top : top + SIZE, left : left + SIZE]
            for top, left in zip(tops, lefts, strict=True)
        ]
    )
    return patches[..., None] / 127.5 - 1
