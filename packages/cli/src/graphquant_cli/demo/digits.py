"""scikit-learn's digits: 1,797 grey images of 8 x 8 pixels."""

from __future__ import annotations

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import MissingDependencyError

_TRAINING_IMAGES = 1347


@attrs.frozen(eq=False)
class Digits:
    """Images float32 ``[N, 8, 8, 1]`` from 0 to 1, and their labels int64 ``[N]``."""

    train_images: npt.NDArray[np.float32]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.float32]
    test_labels: npt.NDArray[np.int64]


def load_digits() -> Digits:
    """1,347 images to train on and 450 to test with, always the same.

    Raises:
        MissingDependencyError: scikit-learn isn't installed; says what to install.
    """
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "graphquant demo needs scikit-learn's digits, and scikit-learn is not installed: "
            'pip install "graphquant-cli[demo]"'
        ) from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:_TRAINING_IMAGES], order[_TRAINING_IMAGES:]
    labels = labels.astype(np.int64)
    return Digits(images[train], labels[train], images[test], labels[test])
