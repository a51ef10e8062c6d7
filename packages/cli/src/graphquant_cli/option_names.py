"""What the packages call an argument, in the words of the command line."""

from __future__ import annotations

import re

OPTIONS = {
    "activation": "--activation",
    "batch_size": "--batch-size",
    "bits": "--bits",
    "block_size": "--block-size",
    "calibration": "--samples",
    "classes": "--classes",
    "correct_bias": "--correct-bias",
    "equalize": "--equalize",
    "float_model": "--float-model",
    "image_range": "--image-range",
    "input_shapes": "--input-shape",
    "input_values": "--input-value",
    "inputs": "--input",
    "labels": "--labels",
    "layer_bits": "--layer-bits",
    "minutes": "--minutes",
    "outputs": "--output",
    "record_file": "--record",
    "samples": "--samples",
    "save_path": "--save-path",
    "seed": "--seed",
    "signature": "--signature",
    "size": "--size",
    "skip_layers": "--skip-layer",
    "steps": "--steps",
    "target": "--target",
    "weight_only": "--weight-only",
    "within": "--within",
}
"""The option for each argument of the packages that one stands for."""

_NAMES = "|".join(sorted(OPTIONS, key=len, reverse=True))
_COMPOUNDS = "|".join(name for name in OPTIONS if "_" in name)
_MENTION = re.compile(
    rf"^({_NAMES})(?= \(|: )"  # samples (3) are too few; calibration: the value of ...
    rf"|(?<![\w\"'/.-])({_NAMES})=(?=[\s),;:.]|$)"  # give the inputs static lengths (input_shapes=)
    rf"|(?<![\w\"'/.-])({_COMPOUNDS})(?![\w\"'/=(-])"  # skip_layers names it
)


def in_options(message: str) -> str:
    """`message` with the option in the place of an argument of Python that it speaks of.

    That is a name in front of its value in brackets or of a colon, with which errors begin; a name
    with ``=`` behind it; and, anywhere, a name that no sentence has. What stands in quotes is
    someone's own.
    """
    return _MENTION.sub(lambda found: OPTIONS[found[1] or found[2] or found[3]], message)
