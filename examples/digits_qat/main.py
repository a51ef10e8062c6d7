"""Train digits, quantise the network with AMCT's calls, run the result in four runtimes."""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # same numbers on every processor, and no notice of it

import data
import tensorflow.compat.v1 as tf
from files import Files
from float_model import evaluate_float, train_float
from quantize import export, retrain
from quantized_model import evaluate_quantized
from report import Outcome, print_summary, summary
from targets import deploy

import graphquant_qat as amct


def main() -> None:
    """Run the whole journey and say what came of it."""
    arguments = parse_arguments()
    tf.logging.set_verbosity(tf.logging.ERROR)
    amct.set_logging_level(print_level="error", save_level="info")
    start = time.perf_counter()
    digits = data.load()
    files = Files.below(arguments.output)

    train_float(digits, files, arguments.epochs, arguments.seed)
    float_probabilities = evaluate_float(digits, files)
    float_end = time.perf_counter()

    retrain(digits, files, max(1, arguments.epochs // 2), arguments.seed)
    retrain_end = time.perf_counter()

    fake_probabilities = export(digits, files)
    export_end = time.perf_counter()

    quantized_probabilities = evaluate_quantized(files.quantized, digits.test_images)
    targets = deploy(digits, files)

    outcomes = {
        "float": Outcome(float_probabilities, files.float_frozen, float_end - start),
        "fake_quantised": Outcome(
            fake_probabilities, files.retrained_frozen, retrain_end - float_end
        ),
        "quantised": Outcome(quantized_probabilities, files.quantized, export_end - retrain_end),
    }
    seconds = time.perf_counter() - start
    found = summary(digits.test_labels, outcomes, targets, arguments.output, seconds)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        print_summary(found)


def parse_arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of weights and batches (default 0)")
    parser.add_argument(
        "--epochs",
        type=int,
        default=60,
        help="of float training; the fine-tuning takes half as many (default 60)",
    )
    parser.add_argument("--output", default="demo_output", help="folder for the files")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    if arguments.epochs < 1:
        parser.error(f"--epochs ({arguments.epochs}) must be 1 or more")
    return arguments


if __name__ == "__main__":
    main()
