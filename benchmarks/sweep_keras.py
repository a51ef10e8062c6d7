"""Architectures of keras.applications and tf_keras.applications, in files."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.sweep_models import KERAS, drawn, model_file, photographs

BATCHES, BATCH = 4, 16
_MODULES = {"RegNet": "regnet", "ResNetRS": "resnet_rs"}
"""Where tf_keras says how its images are prepared."""


def write(name: str, size: int, folder: Path) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Writes the architecture; how images are prepared for it, and the name of its input."""
    keras = importlib.import_module("keras" if name in KERAS else "tf_keras")
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(size, size, 3), classes=1000)
    prepare = _preparation(keras, name, build)
    random = np.random.default_rng(0)
    for layer in model.layers:
        for variable in _variables(layer):
            depthwise = "Depthwise" in type(layer).__name__ or "depthwise" in variable.name
            value = drawn(variable.name, tuple(variable.shape), random, depthwise)
            variable.assign(value)
    _fit_batch_norms(model, prepare, size, random)
    model.save(folder / model_file(name))
    return prepare, model.inputs[0].name.partition(":")[0]


def _preparation(keras: Any, name: str, build: Any) -> Callable[[np.ndarray], np.ndarray]:
    module = sys.modules.get(build.__module__)
    for family, called in _MODULES.items():
        if name.startswith(family):
            module = getattr(keras.applications, called)
    prepare = module.preprocess_input  # type: ignore[union-attr]
    return lambda images: np.asarray(prepare(images.copy()), np.float32)


def _variables(layer: Any) -> list[Any]:
    # What a Normalization subtracts is the architecture's own; other state starts as it is.
    return [] if type(layer).__name__ == "Normalization" else list(layer.trainable_variables)


def _fit_batch_norms(
    model: Any, prepare: Callable[[np.ndarray], np.ndarray], size: int, random: np.random.Generator
) -> None:
    """Moving averages become the mean over the batches."""
    norms = [layer for layer in model.layers if "BatchNorm" in type(layer).__name__]
    given = [norm.momentum for norm in norms]
    for number in range(BATCHES if norms else 0):
        for norm in norms:
            norm.momentum = number / (number + 1)
        model(prepare(photographs(size, BATCH, random)), training=True)
    for norm, momentum in zip(norms, given, strict=True):
        norm.momentum = momentum
