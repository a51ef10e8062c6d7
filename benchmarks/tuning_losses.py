"""What `quantize` and `tune` lose against the float model, with the chance in it.

The networks of `peers`, more of them, and more patches of the same photographs' bands for testing.
A difference is that of the shares of right answers, patch by patch, the file in its runtime against
the float network. Its standard error counts both what a network and what a band of a photograph has
in common (`two_way`). Patches were fixed before anything was measured on them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow.compat.v1 as tf

from benchmarks import photo_data
from benchmarks.peer_tools import DATA, FLOAT, INPUT, TOOLS, Given
from benchmarks.peers import NETWORKS, write
from benchmarks.report import Row

SEEDS = range(6)
PATCHES = 1000
"""Of each photograph."""
WAYS = (
    "graphquant quantize, litert",
    "graphquant tune, litert",
    "graphquant quantize, 4-bit weights, mnn",
    "graphquant tune, 4-bit weights, mnn",
)
TITLE = (
    f"Losses in points on {PATCHES * len(photo_data.PHOTOGRAPHS):,} patches, "
    f"means of {len(SEEDS)} networks of a kind"
)
FORMATS = {
    "network": "{}",
    "tool": "{}",
    "float": "{:.4f}",
    "accuracy": "{:.4f}",
    "difference": "{:+.2f}",
    "error": "{:.2f}",
    "agreement": "{:.4f}",
}
Classes = npt.NDArray[np.int64]


class Answers(NamedTuple):
    """The classes that one network gives to the test patches, int64 [N].

    Attributes:
        float: The float network's.
        tools: Those of the files, by the names of the tools.
    """

    float: Classes
    tools: Mapping[str, Classes]


def measure() -> list[Row]:
    """One row for each kind of network and way, and for all networks."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    rows: list[Row] = []
    known: list[Answers] = []
    with tempfile.TemporaryDirectory() as name:
        for network, train in NETWORKS.items():
            found = []
            for seed in SEEDS:
                folder = Path(name) / f"{network}{seed}"
                write(folder, *train(seed))
                found.append(answers(folder))
            rows += [{"network": network, **row} for row in losses(found)]
            known += found
    return [*rows, *({"network": "all", **row} for row in losses(known))]


def answers(folder: Path) -> Answers:
    """Those of the network that `write` put into `folder`, and of what each tool makes of it."""
    images = photo_data.test_patches(PATCHES).images
    with np.load(folder / DATA) as data:
        output, samples, unlabelled = (data[key] for key in ("output", "samples", "unlabelled"))
    graph_def = tf.GraphDef.FromString((folder / FLOAT).read_bytes())
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        wanted = session.run(f"{output}:0", {f"{INPUT}:0": images}).argmax(1)
    found = {}
    for way in WAYS:
        with tempfile.TemporaryDirectory() as room:
            run = TOOLS[way](Given(graph_def, str(output), samples, unlabelled, Path(room)))[1]
            parts = np.array_split(images, len(photo_data.PHOTOGRAPHS))
            found[way] = np.concatenate([run(part).argmax(1) for part in parts])
    return Answers(wanted, found)


def losses(found: list[Answers]) -> list[Row]:
    """One row for each way, over the networks whose answers those are."""
    patches = photo_data.test_patches(PATCHES)
    right = np.stack([known.float for known in found]) == patches.labels
    rows: list[Row] = []
    for way in WAYS:
        classes = np.stack([known.tools[way] for known in found])
        same = classes == np.stack([known.float for known in found])
        differences = 100.0 * ((classes == patches.labels) - right.astype(float))
        row = {"tool": way, "float": right.mean(), "accuracy": (classes == patches.labels).mean()}
        row |= {"difference": differences.mean(), "error": two_way(differences, patches.bands)}
        rows.append(row | {"agreement": same.mean()})
    return rows


def two_way(values: npt.NDArray[np.float64], groups: Classes) -> float:
    """Standard error of the mean of `values`, whose rows and whose columns are related.

    V = V(rows) + V(groups of columns) - V(groups within a row), each Σ (Σ of what is related of
    value - mean)² / count², the first two times n / (n - 1) for n rows or groups.

    Args:
        values: One row for each network, one column for each patch, float64 ``[N, P]``.
        groups: The group of each column, from 0, int64 ``[P]``.

    Source: Cameron, Gelbach and Miller, Robust Inference with Multiway Clustering, 2011.
    """
    count = int(groups.max()) + 1
    off = values - values.mean()
    cells = np.stack([np.bincount(groups, row, count) for row in off])
    rows, columns = np.square(cells.sum(1)).sum(), np.square(cells.sum(0)).sum()
    rows *= len(cells) / max(len(cells) - 1, 1)
    columns *= count / (count - 1)
    total = max(rows + columns - np.square(cells).sum(), rows, columns)
    return float(np.sqrt(total) / values.size)
