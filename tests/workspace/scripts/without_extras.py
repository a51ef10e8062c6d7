"""What users of weight quantisation alone can do, and what each thing that is missing says."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from graphquant_core import load_registry
from graphquant_core.record import LayerFactors, Record
from graphquant_wq import WeightQuantizer, strip_wq_ops


def quantized() -> tuple[Any, Any]:
    """A frozen graph with weights on a grid, and the compression parameters."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [1, 8, 8, 3], "x")
        tf.nn.conv2d(x, tf.get_variable("kernel", [3, 3, 3, 8]), 1, "SAME", name="conv")
        quantizer = WeightQuantizer(graph, bits=4)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            quantizer.init(session)
            strip_wq_ops(graph)
            frozen = tf.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), ["conv"]
            )
    return frozen, quantizer.compress_params()


def refusal(target: str, frozen: Any, what: Any) -> str:
    exporter = load_registry().exporter(target)
    try:
        exporter.runtime(exporter.export(frozen, ["conv"], what, f"{target}_model"))
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    return "runs"


def absent(module: str) -> str:
    try:
        importlib.import_module(module)
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    return "there"


def main() -> None:
    frozen, params = quantized()
    record = Record({"conv": LayerFactors(0.1, 0, np.full(8, 0.01, np.float32))})
    given = {"mnn": params, "onnx": record, "litert": record, "ascend": record}
    report = {
        "targets": {target: refusal(target, frozen, what) for target, what in given.items()},
        "modules": {name: absent(name) for name in ("graphquant_qat", "graphquant_core.testing")},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
