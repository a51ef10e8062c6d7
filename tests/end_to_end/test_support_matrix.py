"""The table of the README that says which target computes which layer how, from real exports.

One network with every layer type of the built-in handlers is quantised and exported to each
registered target; what is in the table is what the artifact's file says of it. When the test
fails, its message holds the table that belongs into the README.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from graphquant_core import GraphQuantError, Registry, load_registry
from graphquant_export.post_training import quantize_post_training
from graphquant_wq import quantize_frozen_weights

v1 = tf.compat.v1

README = Path(__file__).parents[2] / "README.md"
OUTPUT = "dense"
WEIGHT_TARGETS = ("mnn", "onnx", "litert")
BITS = range(2, 9)


def network() -> tuple[tf.compat.v1.GraphDef, np.ndarray]:
    """A frozen float network with every built-in layer type, and images for it."""
    random = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return tf.constant(random.normal(0, 0.2, shape).astype(np.float32))

    with tf.Graph().as_default() as graph:
        x = images = v1.placeholder(tf.float32, [4, 8, 8, 16], "images")
        x = tf.nn.relu(tf.nn.conv2d(x, weight(3, 3, 16, 16), 1, "SAME", name="conv"))
        x = v1.nn.depthwise_conv2d_native(x, weight(3, 3, 16, 1), [1, 1, 1, 1], "SAME", name="dw")
        x = tf.nn.relu(x)
        x = tf.nn.conv2d_transpose(x, weight(2, 2, 16, 16), [4, 16, 16, 16], 2, "SAME", name="up")
        x = tf.nn.relu(x)
        x = tf.nn.relu(tf.nn.conv2d(x, weight(3, 3, 16, 8), 2, "SAME", name="conv2"))
        x = tf.nn.avg_pool2d(x, 2, 2, "VALID", name="pool")
        x = tf.nn.relu(tf.nn.conv2d(x, weight(1, 1, 8, 16), 1, "SAME", name="conv3"))
        tf.matmul(tf.reshape(x, [4, 256]), weight(256, 8), name=OUTPUT)
    return graph.as_graph_def(), random.normal(size=images.shape).astype(np.float32)


def rows() -> list[tuple[str, ...]]:
    """Header and rows: a layer type, then one cell for each target and kind of quantisation."""
    registry = load_registry()
    model, images = network()
    op_types = sorted(registry.handlers)
    record = quantize_post_training(model, [OUTPUT], {"images": images})
    trained = {
        target: executions(registry, target, model, record, images)
        for target in sorted(registry.exporters)
    }
    weights = {target: weight_bits(registry, target, model) for target in WEIGHT_TARGETS}
    header = (
        "layer",
        *(f"{target}, trained int8" for target in trained),
        *(f"{target}, weight-only" for target in weights),
    )
    return [
        header,
        *(
            (
                op_type,
                *(", ".join(sorted(found.get(op_type, {"float"}))) for found in trained.values()),
                *(spans(bits.get(op_type, ())) for bits in weights.values()),
            )
            for op_type in op_types
        ),
    ]


def executions(
    registry: Registry, target: str, model: Any, record: Any, images: np.ndarray | None
) -> dict[str, set[str]]:
    """How each layer type is computed in the artifact, read from its file."""
    exporter = registry.exporters[target]
    calibration = None if images is None else {"images": images}
    found: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        artifact = exporter.export(model, [OUTPUT], record, path, calibration=calibration)
        for layer in exporter.runtime(artifact).executions():
            found.setdefault(layer.op_type, set()).add(layer.execution)
    return found


def weight_bits(registry: Registry, target: str, model: Any) -> dict[str, list[int]]:
    """The bits at which the weights of each layer type are integers in the artifact."""
    found: dict[str, list[int]] = {}
    for bits in BITS:
        quantized = quantize_frozen_weights(model, [OUTPUT], bits, uniform=True)
        try:
            layers = executions(registry, target, quantized.graph_def, quantized.params, None)
        except GraphQuantError:
            continue
        for op_type, kinds in layers.items():
            if not kinds & {"float", "missing"}:
                found.setdefault(op_type, []).append(bits)
    return found


def spans(bits: Iterable[int]) -> str:
    """``"2-4, 8 bits"``; a dash for none."""
    runs: list[list[int]] = []
    for number in bits:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return f"{', '.join(parts)} bits" if parts else "-"


def markdown(table: list[tuple[str, ...]]) -> str:
    """`table` as Markdown."""
    lines = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([lines[0], "|" + "---|" * len(table[0]), *lines[1:]])


def test_the_readme_shows_what_the_artifacts_hold() -> None:
    """Each cell is what the file of a real export says of that layer."""
    text = README.read_text(encoding="utf-8")
    shown = text.split("<!-- support matrix -->\n")[1].split("<!-- end of support matrix -->")[0]
    expected = markdown(rows())
    assert shown.strip() == expected, f"the table is now\n{expected}"
