"""The model that a command is given."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphquant_core.exceptions import ConfigError

if TYPE_CHECKING:
    from graphquant_export.inputs import LoadedModel


def load(
    model: Path,
    outputs: list[str] | None,
    signature: str | None,
    inputs: list[str] | None,
    input_shapes: list[str] | None,
    input_values: list[str] | None,
) -> LoadedModel:
    """The model at `model`, as the options say.

    Raises:
        ConfigError: A shape or a value can't be read.
        Else as `graphquant_export.inputs.load_model`.
    """
    shapes = None if not input_shapes else dict(_shapes(input_shapes))
    values = None if not input_values else dict(map(_value, input_values))
    from graphquant_export.inputs import load_model

    return load_model(
        model,
        outputs,
        signature,
        inputs=inputs or None,
        input_shapes=shapes,
        input_values=values,
    )


def load_feeds(
    path: Path, model: LoadedModel, argument: str, image_range: str | None
) -> dict[str, Any]:
    """The samples at `path` for the inputs of `model`; arrays stay in their files.

    Args:
        path: What the user gave.
        model: The model.
        argument: The option that it was given for.
        image_range: The text of ``--image-range``.

    Raises:
        ConfigError: `image_range` is no two numbers.
        Else as `graphquant_export.inputs.load_samples`.
    """
    from graphquant_export.inputs import load_samples

    values = None if image_range is None else _numbers(image_range)
    return load_samples(path, model, argument, mapped=True, image_range=values)


def check_image_range(image_range: str | None, samples: Path | None) -> None:
    """Returns unless there is a range and there are no samples that it would be of.

    Raises:
        ConfigError: It is so.
    """
    if image_range is not None and samples is None:
        raise ConfigError(
            f"--image-range ({image_range}) is for a folder of images, which --samples gives"
        )


def _numbers(text: str) -> list[float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(
            f'--image-range ("{text}") must be two numbers, such as 0,1 or -1,1'
        ) from None
    return [low, high]


def _shapes(texts: Iterable[str]) -> Iterable[tuple[str, list[int | None]]]:
    for text in texts:
        name, _, sizes = text.rpartition("=")
        parts = [part.strip() for part in sizes.split(",")]
        if not name or not all(part == "?" or part.isdecimal() for part in parts):
            raise ConfigError(
                f'--input-shape ("{text}") must be a name and sizes, such as images=1,224,224,3, '
                "with ? for a size that stays open"
            )
        yield name, [None if part == "?" else int(part) for part in parts]


def _value(text: str) -> tuple[str, Any]:
    name, _, value = text.rpartition("=")
    try:
        parts = [_number(part.strip().casefold()) for part in value.split(",")]
    except ValueError:
        parts = []
    if not name or not parts:
        raise ConfigError(
            f'--input-value ("{text}") must be a name and true, false, a number, or several of '
            "these, such as is_training=false or mean=0.5,0.5,0.5"
        )
    return name, parts if len(parts) > 1 else parts[0]


def _number(text: str) -> bool | int | float:
    if text in ("false", "true"):
        return text == "true"
    return int(text) if text.removeprefix("-").isdecimal() else float(text)
