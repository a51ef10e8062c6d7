"""What the example found out, as a table or as JSON."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf
from rich import box
from rich.console import Console
from rich.table import Table


class Outcome(NamedTuple):
    """One graph: what it predicts for the test images, its file, the seconds it took to make."""

    probabilities: np.ndarray
    file: str
    seconds: float


def summary(
    labels: np.ndarray,
    outcomes: dict[str, Outcome],
    targets: dict[str, Any],
    folder: str,
    seconds: float,
) -> dict[str, Any]:
    """Plain data: the three graphs, how the last two agree, the targets, where the files are."""
    fake, quantized = outcomes["fake_quantised"], outcomes["quantised"]
    same = top1(fake.probabilities) == top1(quantized.probabilities)
    return {
        "test_images": len(labels),
        "graphs": {
            name: {
                "accuracy": float(np.mean(top1(outcome.probabilities) == labels)),
                "weight_bytes": weight_bytes(outcome.file),
                "file_bytes": os.path.getsize(outcome.file),
                "seconds": round(outcome.seconds, 2),
                "file": outcome.file,
            }
            for name, outcome in outcomes.items()
        },
        "agreement": float(np.mean(same)),
        "largest_difference": float(
            np.max(np.abs(fake.probabilities - quantized.probabilities), initial=0.0)
        ),
        "targets": targets,
        "seconds": round(seconds, 2),
        "folder": folder,
    }


def top1(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class of each image, int64 [N]."""
    return probabilities.argmax(axis=1)


def weight_bytes(model: str) -> int:
    """Bytes that the weights of the layers take in a frozen graph."""
    graph_def = tf.GraphDef()
    with open(model, "rb") as file:
        graph_def.ParseFromString(file.read())
    weights = [
        tf.make_ndarray(node.attr["value"].tensor)
        for node in graph_def.node
        if node.op == "Const" and node.name.rpartition("/")[2].startswith("weight")
    ]
    return sum(weight.nbytes for weight in weights)


def print_summary(found: dict[str, Any]) -> None:
    """Print the table of `summary` and where the files are."""
    console = Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("graph")
    for column in ("accuracy", "weights", "whole file", "seconds to make"):
        table.add_column(column, justify="right")
    for name, graph in found["graphs"].items():
        table.add_row(
            name.replace("_", "-"),
            f"{graph['accuracy']:.2%}",
            f"{graph['weight_bytes']:,} bytes",
            f"{graph['file_bytes']:,} bytes",
            f"{graph['seconds']:.1f}",
        )
    console.print(table)
    agreement = f"{found['agreement']:.2%} of {found['test_images']} test images"
    for line in (
        f"The quantised graph gives the same digit as the fake-quantised one for {agreement};",
        f"the largest difference of a probability is {found['largest_difference']:.1e}.",
    ):
        console.print(line, highlight=False, soft_wrap=True)
    print_targets(console, found["targets"])
    line = f"The files are in {found['folder']}/ ({found['seconds']:.0f} s in all); report.html "
    console.print(f"{line}shows them layer by layer.", highlight=False, soft_wrap=True)


def print_targets(console: Console, targets: dict[str, Any]) -> None:
    """Print what each target computes, or what to install for it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("target")
    for column in ("accuracy", "same digit as simulated", "int8 layers", "whole file"):
        table.add_column(column, justify="right")
    for target, found in targets.items():
        if "missing" in found:
            console.print(f"{target}: {found['missing']}", highlight=False, soft_wrap=True)
            continue
        table.add_row(
            target,
            f"{found['accuracy']:.2%}",
            f"{found['agreement']:.2%}",
            f"{found['int8_layers']} of {found['layers']}",
            f"{found['file_bytes']:,} bytes",
        )
    if table.rows:
        console.print(table)
