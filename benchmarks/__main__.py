"""python -m benchmarks [NAME ...] [--json]: run one benchmark, several, or all of them."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from benchmarks.report import print_table

NAMES = (
    "digits_accuracy",
    "photo_patches",
    "resnet50",
    "clip_gradients",
    "step_time",
    "step_ops",
    "training_memory",
    "rewrite_time",
    "import_time",
    "mnn_digits",
    "mnn_photos",
    "mnn_before_tuning",
    "with_labels",
    "weights_without_labels",
    "tuning",
    "tuning_within",
    "peers",
    "tuning_losses",
    "mnn_init_time",
    "mnn_step_time",
    "exactness",
    "target_accuracy",
    "target_latency",
)


def main() -> None:
    """Measure what the command line names, and print it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument(
        "--rate", choices=("constant", "cosine"), default="constant", help="of mnn_digits' training"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in NAMES:
            parser.error(f"NAME ({name}) must be one of {', '.join(NAMES)}")
    logging.getLogger("graphquant_qat").setLevel(logging.ERROR)
    found = {}
    for name in arguments.names or NAMES:
        benchmark = importlib.import_module(f"benchmarks.{name}")
        options = {"rate": arguments.rate} if name == "mnn_digits" else {}
        found[name] = benchmark.measure(**options)
        if not arguments.json:
            print_table(benchmark.TITLE, benchmark.FORMATS, found[name])
    if arguments.json:
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
