"""Accuracy of the digits example, float against quantised, with the same budget for both sides.

Each seed trains the float network, then goes on from its checkpoint twice, with the same number
of epochs, learning rate and batches: once as it is, once fake-quantised. Accuracy is that of the
last epoch, on 450 test images.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks.report import Row
from graphquant_export.integer_reference import integer_reference

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "digits_qat"))

import data
import network
import quantize
from files import Files
from float_model import evaluate_float, train_float
from training import Start, train

SEEDS = range(5)
EPOCHS = 60
FINE_TUNING_EPOCHS = 30
TITLE = (
    f"Digits, {len(SEEDS)} seeds: float for {EPOCHS} epochs, then {FINE_TUNING_EPOCHS} more, "
    "float or fake-quantised"
)
ACCURACIES = ("float_60", "float_90", "fake_quantised", "quantised")
FORMATS = {
    "seed": "{}",
    **dict.fromkeys(ACCURACIES, "{:.4f}"),
    "same_top1": "{:.4f}",
    "to_integer_reference": "{:.1e}",
}


def measure() -> list[Row]:
    """One row for each seed, then their mean and standard deviation."""
    tf.logging.set_verbosity(tf.logging.ERROR)
    digits = data.load()
    rows = [measure_seed(digits, seed) for seed in SEEDS]
    summaries = (("mean", statistics.mean), ("std", statistics.stdev))
    keys = [key for key in FORMATS if key != "seed"]
    return rows + [
        {"seed": name, **{key: function(row[key] for row in rows) for key in keys}}
        for name, function in summaries
    ]


def measure_seed(digits: data.Digits, seed: int) -> Row:
    """The accuracies of one seed."""
    with tempfile.TemporaryDirectory() as folder:
        files = Files.below(folder)
        train_float(digits, files, EPOCHS, seed)
        float_60 = evaluate_float(digits, files)
        quantize.retrain(digits, files, FINE_TUNING_EPOCHS, seed)
        fake = quantize.export(digits, files)
        quantized = read_graph(files.quantized)
        continue_float(digits, files, seed)
        float_90 = evaluate_float(digits, files)
    probabilities, logits = run(quantized, digits.test_images)
    exact = integer_reference(quantized, [logits_op(quantized)], {"images": digits.test_images})[0]
    return {
        "seed": seed,
        "float_60": accuracy(float_60, digits),
        "float_90": accuracy(float_90, digits),
        "fake_quantised": accuracy(fake, digits),
        "quantised": accuracy(probabilities, digits),
        "same_top1": float(np.mean(fake.argmax(1) == probabilities.argmax(1))),
        "to_integer_reference": float(np.max(np.abs(logits - exact)) / np.max(np.abs(exact))),
    }


def continue_float(digits: data.Digits, files: Files, seed: int) -> None:
    """Give the float network the epochs that the fake-quantised one got."""
    model = network.build(training=True, seed=seed)
    with model.graph.as_default():
        start = Start(tf.train.Saver(), files.float_checkpoint)
    train(
        model,
        digits,
        epochs=FINE_TUNING_EPOCHS,
        learning_rate=quantize.LEARNING_RATE,
        seed=seed,
        checkpoint=files.float_checkpoint,
        start=start,
    )


def read_graph(path: str) -> tf.GraphDef:
    """The graph in the file at `path`."""
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(Path(path).read_bytes())
    return graph_def


def logits_op(graph_def: tf.GraphDef) -> str:
    """Name of the op whose output the softmax takes."""
    return next(node.input[0] for node in graph_def.node if node.name == network.OUTPUT)


def run(graph_def: tf.GraphDef, images: np.ndarray) -> list[np.ndarray]:
    """Probabilities and logits [N, 10] as TensorFlow computes them."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        wanted = [f"{network.OUTPUT}:0", f"{logits_op(graph_def)}:0"]
        return session.run(wanted, {graph.get_tensor_by_name("images:0"): images})


def accuracy(probabilities: np.ndarray, digits: data.Digits) -> float:
    """Share of the test images whose most probable class is the right one."""
    return float(np.mean(probabilities.argmax(1) == digits.test_labels))
