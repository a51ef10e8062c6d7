"""Accuracy of weight-only quantisation, up to the model that MNN's own converter makes.

Each seed trains the float network; from its checkpoint the default strategy and the formula of
mnncompress (symmetric, by the live largest weight) fine-tune with the same epochs, learning rates
and batches. Accuracy is that of the last epoch on 450 test images, without and with batch norm
re-estimated afterwards. The default's re-estimated model is stripped, frozen, converted by the
command that `save_compress_params` returns, and run in MNN.
"""

from __future__ import annotations

import functools
import statistics
import tempfile
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks.mnn_task import (
    EPOCHS,
    FINE_TUNING_EPOCHS,
    OUTPUT,
    Network,
    accuracy,
    digits,
    float_checkpoint,
)
from benchmarks.report import Row
from graphquant_export.mnn import ConverterCommand, convert, run_mnn_model
from graphquant_export.mnn.verify import compare_weights
from graphquant_wq import strip_wq_ops

SEEDS = range(5)
CHANNELS = (8, 4)
BITS = (8, 4, 3, 2)
TITLE = (
    f"Digits for MNN, mean of {len(SEEDS)} seeds: float for {EPOCHS} epochs, "
    f"then {FINE_TUNING_EPOCHS} quantised"
)
ACCURACIES = ("float_", "peer", "peer_reestimated", "ours", "ours_reestimated", "frozen", "mnn")
FORMATS = {
    "channels": "{}",
    "bits": "{}",
    **dict.fromkeys(ACCURACIES, "{:.4f}"),
    "worst_mnn": "{:.4f}",
    "softmax_difference": "{:.1e}",
    "mismatches": "{}",
    "bytes": "{:,}",
}


def measure() -> list[Row]:
    """One row for each size of the network and each number of bits."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    return [measure_bits(channels, bits) for channels in CHANNELS for bits in BITS]


def measure_bits(channels: int, bits: int) -> Row:
    """The means over the seeds, the worst seed, and the largest difference to MNN."""
    trainers = {
        "peer": Network(channels, True, bits, strategy="max_abs"),
        "ours": Network(channels, True, bits),
    }
    rows = []
    for seed in SEEDS:
        start = float_checkpoint(channels, seed)
        row: Row = {"float_": _accuracy_of(start, channels)}
        for side, trainer in trainers.items():
            strategy = "max_abs" if side == "peer" else "live_range"
            trainer.train(FINE_TUNING_EPOCHS, seed, start)
            row[side] = _accuracy_of(trainer.save(), channels, bits, strategy)
            trainer.reestimate(seed)
            checkpoint = trainer.save()
            row[f"{side}_reestimated"] = _accuracy_of(checkpoint, channels, bits, strategy)
        rows.append(row | in_mnn(checkpoint, channels, bits))
    return {
        "channels": channels,
        "bits": bits,
        **{name: statistics.mean(row[name] for row in rows) for name in ACCURACIES},
        "worst_mnn": min(row["mnn"] for row in rows),
        "softmax_difference": max(row["softmax_difference"] for row in rows),
        "mismatches": sum(row["mismatches"] for row in rows),
        "bytes": max(row["bytes"] for row in rows),
    }


def _accuracy_of(
    checkpoint: str, channels: int, bits: int | None = None, strategy: str = "live_range"
) -> float:
    """Accuracy of the inference graph, fake-quantised when `bits` are given."""
    network = _inference_network(channels, bits, strategy)
    network.restore(checkpoint)
    return accuracy(network.predict())


@functools.cache
def _inference_network(channels: int, bits: int | None, strategy: str) -> Network:
    options = {} if bits is None else {"strategy": strategy}
    return Network(channels, False, bits, **options)


def in_mnn(checkpoint: str, channels: int, bits: int) -> Row:
    """The frozen graph and the MNN model of a checkpoint that was fine-tuned by default."""
    network = Network(channels, False, bits)
    network.restore(checkpoint)
    strip_wq_ops(network.graph)
    frozen = tf.graph_util.convert_variables_to_constants(
        network.session, network.graph.as_graph_def(), [OUTPUT]
    )
    images = digits().test_images
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
        "frozen": accuracy(in_tensorflow),
        "mnn": accuracy(in_runtime),
        "softmax_difference": float(np.abs(in_tensorflow - in_runtime).max()),
        "mismatches": sum(layer.mismatches for layer in compared),
        "bytes": size,
    }
