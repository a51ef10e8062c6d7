"""graphquant beside the other tools that quantise TensorFlow graphs: same networks, same samples.

The float networks of `mnn_photos`, of depthwise and 1x1 convolutions, and the residual ones of
`target_accuracy`. Every tool runs in a process of its own, on 256 training images, `tune` on all of
them, none with labels; what it wrote runs in its runtime on the test images. Nothing was chosen on
those.
"""

from __future__ import annotations

import functools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks import mnn_photos, photo_data, target_models
from benchmarks.ai_edge_venv import python
from benchmarks.mnn_task import OUTPUT, Task, cosine
from benchmarks.peer_tools import DATA, FLOAT, INPUT, TOOLS
from benchmarks.report import Row
from benchmarks.target_models import LOGITS
from benchmarks.tuning import float_network

SEEDS = range(3)
SAMPLES = 256
TITLE = f"Tools on the same networks and samples, mean of {len(SEEDS)} seeds"
FORMATS = {
    "network": "{}",
    "tool": "{}",
    "float": "{:.4f}",
    "accuracy": "{:.4f}",
    "agreement": "{:.4f}",
    "kilobytes": "{:.1f}",
    "seconds": "{:.1f}",
}


def mobile(seed: int) -> tuple[tf.GraphDef, str]:
    """(the frozen float network of depthwise convolutions, its output)."""
    task = Task(
        functools.cache(photo_data.load), mnn_photos.logits,
        functools.partial(cosine, mnn_photos.RATE), mnn_photos.EPOCHS,
        mnn_photos.FINE_TUNING_EPOCHS, mnn_photos.REESTIMATION_EPOCHS,
    )  # fmt: skip
    return float_network(task, seed)[0].graph_def, OUTPUT


def residual(seed: int) -> tuple[tf.GraphDef, str]:
    """(the frozen float network with sums, its output)."""
    return target_models.float_model(target_models.build, photo_data.load(), seed), LOGITS


NETWORKS: dict[str, Callable[[int], tuple[tf.GraphDef, str]]] = {
    "depthwise": mobile,
    "residual": residual,
}


def measure() -> list[Row]:
    """One row for each network and each tool."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    python()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for network, train in NETWORKS.items():
            folders = []
            for seed in SEEDS:
                folders.append(Path(name) / f"{network}{seed}")
                write(folders[-1], *train(seed))
            for tool in TOOLS:
                found = [run(tool, folder) for folder in folders]
                means = {key: statistics.mean(row[key] for row in found) for key in found[0]}
                rows.append({"network": network, "tool": tool, **means})
    return rows


def write(folder: Path, graph_def: tf.GraphDef, output: str) -> None:
    """Puts a float network, and what it is quantised and measured on, into `folder`."""
    folder.mkdir()
    (folder / FLOAT).write_bytes(graph_def.SerializeToString())
    data = photo_data.load()
    order = np.random.default_rng(0).permutation(len(data.train_images))
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        answers = session.run(f"{output}:0", {f"{INPUT}:0": data.test_images}).argmax(1)
    np.savez(
        folder / DATA,
        output=output,
        samples=data.train_images[order[:SAMPLES]],
        unlabelled=data.train_images[order],
        images=data.test_images,
        labels=data.test_labels,
        answers=answers,
    )


def run(tool: str, folder: Path) -> dict[str, float]:
    """The figures of one tool on the network in `folder`, from its process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peer_tools", tool, str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    with np.load(folder / DATA) as data:
        return {"float": float(np.mean(data["answers"] == data["labels"])), **found}
