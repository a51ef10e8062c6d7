"""Is what is deployed what was simulated? Beside the noise floor: the same graph, summed otherwise.

The frozen fake-quantised graph is run once as it is, and once each with Grappler off and, in a
process of its own, with oneDNN off: that is the noise floor. The deployed model runs in its own
runtime. First every model is trained for Ascend and deployed on four targets from its record alone,
where what training didn't round stays float; then it is trained for each target, from the same
float network, with the same budget, and deployed in full integers; beside it stands what one had
to do without: the model that was trained for Ascend, with ranges observed on training images.
Logits are compared: a step is
that of the deployed output where it is an integer, else 1/255 of the range of the logits.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks import target_models
from benchmarks.digits_accuracy import read_graph
from benchmarks.report import Row
from benchmarks.target_models import LOGITS, TrainedModel
from graphquant_core import load_registry
from graphquant_core.graph.frozen import import_frozen
from graphquant_export.targets.mnn import run_mnn_model
from graphquant_export.targets.mnn.int8 import export_mnn_int8
from graphquant_export.targets.mnn.model_file import read_mnn_model
from graphquant_export.targets.mnn.outputs import mnn_output
from graphquant_export.verification import verify

ASCEND = "ascend"
TARGETS = (ASCEND, "onnx", "litert", "mnn")
GRAPPLER, ONEDNN = "simulated again, Grappler off", "simulated again, oneDNN off"
SMALL_TILES = "mnn, small tiles of Winograd"
MODELS: tuple[tuple[str, Callable[..., TrainedModel], int], ...] = (
    ("digits", target_models.digits, 5),
    ("photographs", target_models.photographs, 3),
    ("digits, residual", target_models.residual_digits, 3),
    ("photographs, residual", target_models.residual_photographs, 3),
    ("photographs, 18 layers", target_models.mobile_photographs, 2),
)
TITLE = "Deployed beside simulated, with the noise floor; and the same when trained for the target"
FORMATS = {
    "model": "{}",
    "trained_for": "{}",
    "deployed": "{}",
    "same_top1": "{:.4f}",
    "mean_steps": "{:.4f}",
    "largest_steps": "{:.2f}",
    "same_codes": "{:.4f}",
    "accuracy": "{:.4f}",
    "layers": "{}",
}
RUN_PB = """
import sys, numpy as np, tensorflow.compat.v1 as tf
graph = tf.GraphDef.FromString(open(sys.argv[1], "rb").read())
tf.import_graph_def(graph, name="")
with tf.Session() as session:
    np.save(sys.argv[3], session.run(sys.argv[4] + ":0", {"images:0": np.load(sys.argv[2])}))
"""


def measure() -> list[Row]:
    """A row for each model, what it was trained for, and where it runs: means over the seeds."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    rows: list[Row] = []
    for name, train, seeds in MODELS:
        found: dict[tuple[str, str], list[Row]] = {}
        for seed in range(seeds):
            for trained_for, deployed, row in measure_seed(train, seed):
                found.setdefault((trained_for, deployed), []).append(row)
        rows += [summary(name, *key, several) for key, several in found.items()]
    return rows


def measure_seed(train: Callable[..., TrainedModel], seed: int) -> Iterator[tuple[str, str, Row]]:
    """(trained for, deployed on, figures) of one seed."""
    trained = train(seed)
    yield ASCEND, GRAPPLER, beside(trained, run(trained, grappler=False))
    yield ASCEND, ONEDNN, beside(trained, run_without_onednn(trained))
    for target in TARGETS:
        yield ASCEND, target, deploy(trained, target)
    yield ASCEND, SMALL_TILES, beside(trained, run_with_small_tiles(trained))
    for target in TARGETS[1:]:
        yield ASCEND, f"{target}, observed ranges", deploy(trained, target, observed=True)
    for target in TARGETS[1:] if train is not target_models.digits else ():
        trained = train(seed, target)
        yield target, target, deploy(trained, target)


def deploy(trained: TrainedModel, target: str, *, observed: bool = False) -> Row:
    """The figures of one model on one target, from its record alone or with observed ranges."""
    calibration = {"images": trained.calibration} if observed else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        exporter = load_registry().exporter(target)
        artifact = exporter.export(
            trained.frozen, [LOGITS], trained.record, path, calibration=calibration
        )
        feeds = {"images": trained.images}
        found = verify(artifact, feeds, labels=trained.labels, layers=True)
    (output,) = found.outputs
    assert output.accuracy is not None
    codes = [1 - layer.found.mean for layer in found.layers if layer.found is not None]
    floats = sum(row.execution != "int8" for row in found.executions)
    return {
        "same_top1": output.simulation.agreement,
        "mean_steps": output.simulation.mean,
        "largest_steps": output.simulation.largest,
        "same_codes": min(codes, default=float("nan")),
        "accuracy": output.accuracy.runtime,
        "layers": f"{len(found.executions) - floats} of {len(found.executions)}",
    }


def beside(trained: TrainedModel, logits: np.ndarray) -> Row:
    """The figures of the simulation when it is run another way."""
    usual = run(trained)
    distance = np.abs(logits - usual) / (np.ptp(usual) / 255)
    return {
        "same_top1": float(np.mean(logits.argmax(1) == usual.argmax(1))),
        "mean_steps": float(distance.mean()),
        "largest_steps": float(distance.max()),
        "same_codes": float("nan"),
        "accuracy": float(np.mean(logits.argmax(1) == trained.labels)),
        "layers": "-",
    }


def run(trained: TrainedModel, *, grappler: bool = True) -> np.ndarray:
    """Logits of the frozen graph on the test images."""
    config = tf.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = not grappler
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        tf.import_graph_def(trained.frozen, name="")
        return session.run(f"{LOGITS}:0", {"images:0": trained.images})


def run_without_onednn(trained: TrainedModel) -> np.ndarray:
    """The same in a process whose TensorFlow has oneDNN off."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.pb").write_bytes(trained.frozen.SerializeToString())
        np.save(folder / "images.npy", trained.images)
        files = [str(folder / file) for file in ("model.pb", "images.npy", "logits.npy")]
        environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
        command = [sys.executable, "-c", RUN_PB, *files, LOGITS]
        subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
        return np.load(files[-1])


def run_with_small_tiles(trained: TrainedModel) -> np.ndarray:
    """Logits in MNN, whose convolutions in floats are less exact in the tiles that it prefers."""
    with tempfile.TemporaryDirectory() as folder:
        artifact = export_mnn_int8(trained.frozen, [LOGITS], trained.record, Path(folder) / "model")
        graph = import_frozen(read_graph(str(artifact.frozen_path)))
        output = mnn_output(graph, LOGITS, read_mnn_model(artifact.model_path))
        feeds = {"images": trained.images}
        return run_mnn_model(artifact.model_path, feeds, [output], winograd_level=1)[output]


def summary(model: str, trained_for: str, deployed: str, seeds: list[Row]) -> Row:
    """Means over the seeds; the largest difference, and the layer with the fewest equal codes."""
    means = ("same_top1", "mean_steps", "accuracy")
    return {
        "model": model,
        "trained_for": trained_for,
        "deployed": deployed,
        **{key: statistics.mean(row[key] for row in seeds) for key in means},
        "largest_steps": max(row["largest_steps"] for row in seeds),
        "same_codes": min(row["same_codes"] for row in seeds),
        "layers": seeds[0]["layers"],
    }
