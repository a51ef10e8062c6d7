"""`tune` without labels: the float model teaches its quantised self.

The float networks of `mnn_photos`, 16 layers with a weight, frozen. Weights alone at 4, 3 and 2
bits and within a size for MNN, and int8 for ONNX and LiteRT, each without steps and with 1,400 of
64 on the training patches, without their labels. What is deployed runs in its runtime; accuracy is
that on test patches, and nothing was chosen on them.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import tensorflow.compat.v1 as tf

from benchmarks import mnn_photos, photo_data
from benchmarks.mnn_task import OUTPUT, Network, Task, cosine, float_checkpoint
from benchmarks.report import Row
from graphquant_export import LoadedModel, export, verify
from graphquant_tune import TunedModel, tune

SEEDS = range(3)
GOALS: dict[str, dict[str, Any]] = {
    "int8, onnx": {"target": "onnx"},
    "int8, litert": {"target": "litert"},
    "4 bits, mnn": {"target": "mnn", "weight_only": True, "bits": 4},
    "3 bits, mnn": {"target": "mnn", "weight_only": True, "bits": 3},
    "2 bits, mnn": {"target": "mnn", "weight_only": True, "bits": 2},
    "24% of the float graph, mnn": {"target": "mnn", "weight_only": True, "size": "24%"},
}
TITLE = f"Tuning without labels, mean of {len(SEEDS)} seeds"
FORMATS = {
    "goal": "{}",
    "float": "{:.4f}",
    "without_steps": "{:.4f}",
    "tuned": "{:.4f}",
    "distance_before": "{:.4f}",
    "distance_after": "{:.4f}",
    "kilobytes": "{:.1f}",
    "seconds_without": "{:.0f}",
    "seconds_tuned": "{:.0f}",
}


def measure() -> list[Row]:
    """One row for each goal."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    task = Task(
        functools.cache(photo_data.load), mnn_photos.logits,
        functools.partial(cosine, mnn_photos.RATE), mnn_photos.EPOCHS,
        mnn_photos.FINE_TUNING_EPOCHS, mnn_photos.REESTIMATION_EPOCHS,
    )  # fmt: skip
    models = [float_network(task, seed) for seed in SEEDS]
    rows: list[Row] = []
    for goal, options in GOALS.items():
        found = [measure_goal(task, *model, options) for model in models]
        means = {key: statistics.mean(row[key] for row in found) for key in found[0]}
        rows.append({"goal": goal, **means})
    return rows


def float_network(task: Task, seed: int) -> tuple[LoadedModel, float]:
    """(the trained float network, frozen; its accuracy)."""
    network = Network(task, False)
    network.restore(float_checkpoint(task, seed))
    frozen = tf.graph_util.convert_variables_to_constants(
        network.session, network.graph.as_graph_def(), [OUTPUT]
    )
    return LoadedModel(frozen, ("images",), (OUTPUT,)), network.accuracy()


def measure_goal(
    task: Task, model: LoadedModel, accuracy: float, options: dict[str, Any]
) -> dict[str, float]:
    """The figures of one network, deployed in its runtime."""
    samples = {"images": task.data().train_images}
    started = time.perf_counter()
    untrained = tune(model, samples, steps=0, **options)
    without = time.perf_counter() - started
    started = time.perf_counter()
    tuned = tune(model, samples, **options)
    seconds = time.perf_counter() - started
    deployed, size = run(task, tuned, options["target"])
    return {
        "float": accuracy,
        "without_steps": run(task, untrained, options["target"])[0],
        "tuned": deployed,
        "distance_before": tuned.before.distance,
        "distance_after": tuned.after.distance,
        "kilobytes": size / 1000,
        "seconds_without": without,
        "seconds_tuned": seconds,
    }


def run(task: Task, found: TunedModel, target: str) -> tuple[float, int]:
    """(accuracy in the target's runtime, bytes of its file)."""
    model = LoadedModel(found.graph_def, ("images",), found.outputs)
    data = task.data()
    with tempfile.TemporaryDirectory() as folder:
        artifact = export(model, found.factors, target, Path(folder) / "model")
        checked = verify(artifact, {"images": data.test_images}, labels=data.test_labels)
        (output,) = checked.outputs
        assert output.accuracy is not None
        return output.accuracy.runtime, artifact.paths[0].stat().st_size
