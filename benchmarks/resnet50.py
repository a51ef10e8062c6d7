"""tf_slim's resnet_v1_50 through AMCT's whole flow: seconds, memory, and what is deployed.

One process of its own, because tf_slim needs tf_keras as tf.keras. The network has random weights
and a few steps of training, so that its ranges and moving averages fit its data. A step is 1/255
of the range of the values that are compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import Row

SCRIPT = Path(__file__).parents[1] / "tests" / "qat" / "scripts" / "slim_resnet.py"
IMAGE_SIZE, BATCH, STEPS, IMAGES = 224, 4, 6, 64
TITLE = (
    f"tf_slim resnet_v1_50, images of {IMAGE_SIZE} x {IMAGE_SIZE}, {IMAGES} random ones compared"
)
FORMATS = {"what": "{}", "value": "{}"}


def measure() -> list[Row]:
    """One row for each figure."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = map(str, (IMAGE_SIZE, BATCH, STEPS, IMAGES))
        done = subprocess.run(
            [sys.executable, str(SCRIPT), folder, *numbers],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    return [{"what": what, "value": value} for what, value in figures(json.loads(done.stdout))]


def figures(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each figure."""
    rows = []
    for mode, graph in found["graphs"].items():
        size = f"{graph['ops']:,} ops, {graph['layers']} of {graph['convolutions']} convolutions"
        rows.append((f"{mode} graph", f"{size}, {len(graph['skips'])} skipped"))
    calls = ("config", "rewrite_training", "rewrite_inference", "record", "freeze", "save")
    rows += [(f"{call.replace('_', ' ')}, s", f"{found['seconds'][call]:.2f}") for call in calls]
    rows += [
        ("peak memory, MB", f"{found['peak_mb']:,.0f}"),
        ("frozen, MB", f"{found['frozen_mb']:.1f}"),
        ("quantised, MB", f"{found['quantized_mb']:.1f}"),
        ("classes predicted", f"{found['end_to_end']['classes']}"),
    ]
    comparisons = {
        "quantised against fake-quantised": found["end_to_end"]["deployed"],
        "fake-quantised with and without Grappler": found["end_to_end"]["itself"],
        "layer by layer": found["layer_by_layer"],
    }
    for name, compared in comparisons.items():
        steps = f"{compared['mean_steps']:.4f}, largest {compared['largest_steps']:.2f} steps"
        rows.append((name, f"top-1 {compared['same_top1']:.4f}, mean {steps}"))
    return rows
