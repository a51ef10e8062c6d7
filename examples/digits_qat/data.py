"""scikit-learn's digits: 1,797 grey images of 8 x 8 pixels, always split in the same way."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

TRAINING_IMAGES = 1347


class Digits(NamedTuple):
    """Images float32 [N, 8, 8, 1] in 0..1 and their labels int64 [N]."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load() -> Digits:
    """1,347 images to train on, 450 to test with."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:TRAINING_IMAGES], order[TRAINING_IMAGES:]
    return Digits(images[train], labels[train], images[test], labels[test])
