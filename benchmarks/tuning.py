"""`tune` without labels: the float model teaches its quantised self.

The float networks of `weights_without_labels`. Weights alone at 4, 3 and 2 bits for MNN, and int8
for ONNX and LiteRT, each without steps and with 1,400 of 64 on all training images, without their
labels. Accuracy on test images; nothing was chosen on them.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf

from benchmarks import photo_data
from benchmarks.photo_data import Patches
from benchmarks.report import Row
from benchmarks.target_models import LOGITS, float_model
from benchmarks.weights_without_labels import MODELS, accuracy
from graphquant_export import LoadedModel, export, verify
from graphquant_tune import TunedModel, tune

SEEDS = range(2)
GOALS: dict[str, dict[str, Any]] = {
    "4 bits": {"target": "mnn", "weight_only": True, "bits": 4},
    "3 bits": {"target": "mnn", "weight_only": True, "bits": 3},
    "2 bits": {"target": "mnn", "weight_only": True, "bits": 2},
    "int8, onnx": {"target": "onnx"},
    "int8, litert": {"target": "litert"},
}
TITLE = f"Tuning without labels, mean of {len(SEEDS)} seeds"
FORMATS = {
    "model": "{}",
    "goal": "{}",
    "float": "{:.4f}",
    "without_steps": "{:.4f}",
    "tuned": "{:.4f}",
    "distance_before": "{:.4f}",
    "distance_after": "{:.4f}",
    "kilobytes": "{:.1f}",
    "seconds": "{:.0f}",
}


def measure() -> list[Row]:
    """One row for each model and each goal."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    data = photo_data.load()
    rows: list[Row] = []
    for name, build in MODELS:
        frozen = [float_model(build, data, seed) for seed in SEEDS]
        for goal, options in GOALS.items():
            found = [measure_goal(graph, data, options) for graph in frozen]
            means = {key: statistics.mean(row[key] for row in found) for key in found[0]}
            rows.append({"model": name, "goal": goal, **means})
    return rows


def measure_goal(frozen: tf.GraphDef, data: Patches, options: dict[str, Any]) -> dict[str, float]:
    """The figures of one network, deployed in its runtime."""
    model = LoadedModel(frozen, ("images",), (LOGITS,))
    samples = {"images": data.train_images}
    untrained = tune(model, samples, steps=0, **options)
    tuned = tune(model, samples, **options)
    deployed, size = run(tuned, data, options["target"])
    return {
        "float": accuracy(frozen, data),
        "without_steps": run(untrained, data, options["target"])[0],
        "tuned": deployed,
        "distance_before": tuned.before.distance,
        "distance_after": tuned.after.distance,
        "kilobytes": size / 1000,
        "seconds": tuned.training.seconds,
    }


def run(found: TunedModel, data: Patches, target: str) -> tuple[float, int]:
    """(accuracy in the target's runtime, bytes of its file)."""
    model = LoadedModel(found.graph_def, ("images",), found.outputs)
    with tempfile.TemporaryDirectory() as folder:
        artifact = export(model, found.factors, target, Path(folder) / "model")
        checked = verify(artifact, {"images": data.test_images}, labels=data.test_labels)
        (output,) = checked.outputs
        assert output.accuracy is not None
        return output.accuracy.runtime, artifact.paths[0].stat().st_size
