"""Fine-tuning with quantised weights, up to the model that MNN's own converter makes of it.

Every strategy starts from the same float checkpoint and has the same epochs, rates and batches.
Batch norm is re-estimated afterwards; accuracy, that of the last epoch, is measured before and
after. Then the inference graph is stripped, frozen, converted with the parameters that
`save_compress_params` writes, and run in MNN.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks.mnn_task import OUTPUT, Network, Task, float_accuracies, float_checkpoint
from benchmarks.report import Row
from graphquant_export.targets.mnn import ConverterCommand, convert, run_mnn_model
from graphquant_export.targets.mnn.verify import compare_weights
from graphquant_wq import strip_wq_ops

ACCURACIES = ("float", "float_continued", "last_step", "reestimated", "mnn")
FORMATS = {
    **dict.fromkeys((*ACCURACIES, "worst"), "{:.4f}"),
    "softmax_difference": "{:.1e}",
    "flips": "{}",
    "mismatches": "{}",
    "bytes": "{:,}",
}


def fine_tuned(task: Task, seeds: Iterable[int], bits: int, options: Mapping[str, Any]) -> Row:
    """Means over `seeds`; the worst seed in MNN, and the largest differences to it."""
    trainer = Network(task, True, bits, **options)
    shown = Network(task, False, bits, **options)
    rows = []
    for seed in seeds:
        row: Row = dict(zip(ACCURACIES, float_accuracies(task, seed), strict=False))
        trainer.train(task.fine_tuning_epochs, seed, float_checkpoint(task, seed))
        shown.restore(trainer.save())
        row["last_step"] = shown.accuracy()
        trainer.reestimate(seed)
        checkpoint = trainer.save()
        shown.restore(checkpoint)
        row["reestimated"] = shown.accuracy()
        rows.append(row | in_mnn(task, checkpoint, bits, options))
    return {
        **{name: statistics.mean(row[name] for row in rows) for name in ACCURACIES},
        "worst": min(row["mnn"] for row in rows),
        "softmax_difference": max(row["softmax_difference"] for row in rows),
        "flips": sum(row["flips"] for row in rows),
        "mismatches": sum(row["mismatches"] for row in rows),
        "bytes": max(row["bytes"] for row in rows),
    }


def in_mnn(task: Task, checkpoint: str, bits: int, options: Mapping[str, Any]) -> Row:
    """The MNN model of a fine-tuned checkpoint beside the frozen graph that it was made of."""
    network = Network(task, False, bits, **options)
    network.restore(checkpoint)
    strip_wq_ops(network.graph)
    frozen = tf.graph_util.convert_variables_to_constants(
        network.session, network.graph.as_graph_def(), [OUTPUT]
    )
    images = task.data().test_images
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(frozen, name="")
        in_tensorflow = session.run(f"{OUTPUT}:0", {"images:0": images})
    with tempfile.TemporaryDirectory() as folder:
        params, model, written = (
            str(Path(folder, name)) for name in ("params.bin", "frozen.pb", "model.mnn")
        )
        network.quantizer.save_compress_params(params)
        Path(model).write_bytes(frozen.SerializeToString())
        convert(ConverterCommand(model, written, params))
        in_runtime = run_mnn_model(written, {"images": images}, [OUTPUT])[OUTPUT]
        compared = compare_weights(frozen, written, network.quantizer.compress_params())
        size = Path(written).stat().st_size
    return {
        "mnn": task.accuracy(in_runtime),
        "softmax_difference": float(np.abs(in_tensorflow - in_runtime).max()),
        "flips": int(np.count_nonzero(in_tensorflow.argmax(1) != in_runtime.argmax(1))),
        "mismatches": sum(layer.mismatches for layer in compared),
        "bytes": size,
    }
