"""Peak memory of a training step and of a process that trains a few, float and fake-quantised.

Each in a process of its own, whose peak is what the operating system says. The first step searches
the ranges. What the process had before it trains (TensorFlow, the graph) is left out. What is alive
at once in a later step is by TensorFlow's own account of its allocations.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.report import Row

TITLE = "Peak memory of a later step, and of six with the start, fake-quantised against float"
FORMATS = {
    "network": "{}",
    "image": "{0} x {0}",
    "batch": "{}",
    "float_step_mb": "{:,.1f}",
    "quantised_step_mb": "{:,.1f}",
    "step_ratio": "{:.2f}",
    "target": "<= {:.2f}",
    "float_process_mb": "{:,.0f}",
    "quantised_process_mb": "{:,.0f}",
    "process_ratio": "{:.2f}",
}
STEPS, TARGET = 6, 1.3
SCRIPT = f"""
import resource, sys
import numpy as np
import tensorflow.compat.v1 as tf
from benchmarks.step_time import NETWORKS, training_step
name, _, network, size, batch, _ = NETWORKS[int(sys.argv[1])]
step, _ = training_step(network, size, batch, quantize=sys.argv[2] == "True")
with open("/proc/self/statm", encoding="ascii") as file:
    before = int(file.read().split()[1]) * resource.getpagesize()
for _ in range({STEPS}):
    step()
process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
metadata = tf.RunMetadata()
step(options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=metadata)
changes = [
    (record.alloc_micros, -record.alloc_bytes)
    for device in metadata.step_stats.dev_stats
    for node in device.node_stats
    for memory in node.memory
    for record in memory.allocation_records
]
print(int(np.cumsum([-freed for _, freed in sorted(changes)]).max()), process)
"""


def measure() -> list[Row]:
    """One row for each network of `step_time`."""
    from benchmarks.step_time import NETWORKS

    rows = []
    for number, (name, _, _, size, batch, _) in enumerate(NETWORKS):
        (float_step, float_process), (step, process) = (
            peaks(number, quantize) for quantize in (False, True)
        )
        rows.append(
            {
                "network": name,
                "image": size,
                "batch": batch,
                "float_step_mb": float_step / 2**20,
                "quantised_step_mb": step / 2**20,
                "step_ratio": step / float_step,
                "target": TARGET,
                "float_process_mb": float_process / 2**20,
                "quantised_process_mb": process / 2**20,
                "process_ratio": process / float_process,
            }
        )
    return rows


def peaks(number: int, quantize: bool) -> tuple[int, int]:
    """Bytes that are alive at once in a step, and that the process takes at its peak."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(number), str(quantize)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    step, process = map(int, done.stdout.split())
    return step, process
