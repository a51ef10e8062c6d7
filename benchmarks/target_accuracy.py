"""One trained model in four runtimes: accuracy, and how far each is from the simulation.

A record covers what goes into layers. What comes out of one and into an addition, or the logits,
is either left in float, or rounded to 8 bits as well, to a range observed on training images.

`verify` runs the frozen graph with its fake quantisers, the exact integers, and the artifact in
its own runtime on all test images. A step is that of the artifact's output where it is an integer
there, else 1/255 of the range of the logits.
"""

from __future__ import annotations

import statistics
import tempfile
from collections import Counter
from pathlib import Path

import tensorflow.compat.v1 as tf

from benchmarks import target_models
from benchmarks.report import Row
from graphquant_core import load_registry
from graphquant_export.verification import verify

SEEDS = range(3)
TARGETS = (
    ("ascend", False),
    ("mnn", False),
    ("mnn", True),
    ("onnx", False),
    ("onnx", True),
    ("litert", False),
    ("litert", True),
)
MODELS = (
    ("digits", target_models.digits),
    ("digits, residual", target_models.residual_digits),
    ("photographs, residual", target_models.residual_photographs),
)
TITLE = f"Four targets, {len(SEEDS)} seeds; with or without observed ranges for sums and logits"
FORMATS = {
    "model": "{}",
    "target": "{}",
    "observed_ranges": "{}",
    "simulated": "{:.4f}",
    "deployed": "{:.4f}",
    "top1": "{:.4f}",
    "worst_top1": "{:.4f}",
    "mean_steps": "{:.4f}",
    "largest_steps": "{:.2f}",
    "to_integers_mean": "{:.4f}",
    "to_integers_largest": "{:.2f}",
    "layers": "{}",
}


def measure() -> list[Row]:
    """One row for each model and target: means over the seeds, and the largest difference."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    rows = []
    for name, train in MODELS:
        found: dict[tuple[str, bool], list[Row]] = {target: [] for target in TARGETS}
        for seed in SEEDS:
            trained = train(seed)
            for target in TARGETS:
                found[target].append(measure_target(trained, *target))
        rows += [summary(name, *target, seeds) for target, seeds in found.items()]
    return rows


def measure_target(trained: target_models.TrainedModel, target: str, observed: bool) -> Row:
    """The figures of one trained model on one target, with or without observed ranges."""
    calibration = {"images": trained.calibration} if observed else None
    with tempfile.TemporaryDirectory() as folder:
        artifact = (
            load_registry()
            .exporters[target]
            .export(
                trained.frozen,
                [target_models.LOGITS],
                trained.record,
                Path(folder) / "model",
                calibration=calibration,
            )
        )
        found = verify(artifact, {"images": trained.images}, labels=trained.labels)
    (output,) = found.outputs
    assert output.accuracy is not None
    assert output.reference is not None
    return {
        "simulated": output.accuracy.simulation,
        "deployed": output.accuracy.runtime,
        "top1": output.simulation.agreement,
        "mean_steps": output.simulation.mean,
        "largest_steps": output.simulation.largest,
        "to_integers_mean": output.reference.mean,
        "to_integers_largest": output.reference.largest,
        "layers": Counter(layer.execution for layer in found.executions),
    }


def summary(model: str, target: str, observed: bool, seeds: list[Row]) -> Row:
    """Means over the seeds, the worst agreement, the largest difference."""
    largest = ("largest_steps", "to_integers_largest")
    means = ("simulated", "deployed", "top1", "mean_steps", "to_integers_mean")
    layers = seeds[0]["layers"].most_common()
    return {
        "model": model,
        "target": target,
        "observed_ranges": "yes" if observed else "no",
        **{key: statistics.mean(row[key] for row in seeds) for key in means},
        **{key: max(row[key] for row in seeds) for key in largest},
        "worst_top1": min(row["top1"] for row in seeds),
        "layers": ", ".join(f"{count} {execution}" for execution, count in layers),
    }
