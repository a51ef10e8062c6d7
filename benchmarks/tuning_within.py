"""`tune --within` on models that are no classifiers: int8 for each target, in its runtime.

A detector with two heads, a U-net with transposed convolutions that takes noise out of images, and
a network behind a short-time Fourier transform and a logarithm, which int8 destroys. No training;
dB are 10 log10(Σ float² / Σ (float - deployed)²) of the worst output of the file in its runtime.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks import signal_models
from benchmarks.report import Row
from graphquant_core.registry import load_registry
from graphquant_export import LoadedModel, export
from graphquant_tune import TunedModel, tune

Samples = Mapping[str, Any]
MODELS: Mapping[str, Callable[[int], tuple[LoadedModel, dict[str, Any]]]] = {
    "detector": signal_models.detector,
    "denoiser": signal_models.denoiser,
    "audio": signal_models.audio,
}
TARGETS = ("ascend", "onnx", "litert", "mnn")
WITHIN = 40
TITLE = f"int8 within {WITHIN} dB, without training"
FORMATS = {
    "model": "{}",
    "target": "{}",
    "all_int8_db": "{:.1f}",
    "within_db": "{:.1f}",
    "layers": "{}",
    "float_layers": "{}",
    "seconds": "{:.0f}",
}


def measure() -> list[Row]:
    """One row for each model and target."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    rows: list[Row] = []
    for name, make in MODELS.items():
        model, samples = make(0)
        for target in TARGETS:
            every = tune(model, samples, target, steps=0)
            started = time.perf_counter()
            found = tune(model, samples, target, steps=0, within=f"{WITHIN}dB")
            seconds = time.perf_counter() - started
            left = sorted(set(every.bits) - set(found.bits))
            rows.append(
                {
                    "model": name,
                    "target": target,
                    "all_int8_db": deployed_decibels(model, every, target, samples),
                    "within_db": deployed_decibels(model, found, target, samples),
                    "layers": len(found.bits),
                    "float_layers": ", ".join(left) or "none",
                    "seconds": seconds,
                }
            )
    return rows


def deployed_decibels(
    model: LoadedModel, found: TunedModel, target: str, samples: Samples
) -> float:
    """Of the worst output of the target's file in its runtime, beside the float model."""
    tuned = LoadedModel(found.graph_def, model.inputs, found.outputs)
    with tempfile.TemporaryDirectory() as folder:
        artifact = export(tuned, found.factors, target, Path(folder) / "model")
        runtime = load_registry().exporter(target).runtime(artifact)
        deployed = runtime.run(samples, list(model.outputs))
    with tf.Session(graph=model.graph()) as session:
        wanted = session.run(
            [f"{name}:0" for name in model.outputs],
            {f"{name}:0": value for name, value in samples.items()},
        )
    return min(
        10
        * np.log10(
            np.sum(np.square(t, dtype=float)) / np.sum(np.square(t - deployed[name], dtype=float))
        )
        for name, t in zip(model.outputs, wanted, strict=True)
    )
