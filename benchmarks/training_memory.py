"""Peak memory of a process that trains a few steps, float and fake-quantised.

Each in a process of its own, whose peak is what the operating system says. The first step searches
the ranges. What the process had before it trains (TensorFlow, the graph) is left out.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.report import Row

TITLE = "Peak memory of six training steps, fake-quantised against float"
FORMATS = {
    "network": "{}",
    "image": "{0} x {0}",
    "batch": "{}",
    "float_mb": "{:,.0f}",
    "quantised_mb": "{:,.0f}",
    "ratio": "{:.2f}",
    "target": "<= {:.2f}",
}
STEPS, TARGET = 6, 1.3
SCRIPT = f"""
import resource, sys
from benchmarks.step_time import NETWORKS, training_step
name, _, network, size, batch, _ = NETWORKS[int(sys.argv[1])]
step, _ = training_step(network, size, batch, quantize=sys.argv[2] == "True")
with open("/proc/self/statm", encoding="ascii") as file:
    before = int(file.read().split()[1]) * resource.getpagesize()
for _ in range({STEPS}):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
"""


def measure() -> list[Row]:
    """One row for each network of `step_time`."""
    from benchmarks.step_time import NETWORKS

    rows = []
    for number, (name, _, _, size, batch, _) in enumerate(NETWORKS):
        float_peak, quantised = (peak(number, quantize) for quantize in (False, True))
        rows.append(
            {
                "network": name,
                "image": size,
                "batch": batch,
                "float_mb": float_peak / 2**20,
                "quantised_mb": quantised / 2**20,
                "ratio": quantised / float_peak,
                "target": TARGET,
            }
        )
    return rows


def peak(number: int, quantize: bool) -> int:
    """Bytes that training takes at its peak."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(number), str(quantize)],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    return int(done.stdout)
