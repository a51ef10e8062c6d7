"""The model that a command is given."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from graphquant_core.exceptions import ConfigError

if TYPE_CHECKING:
    from graphquant_export.inputs import LoadedModel


def load(
    model: Path,
    outputs: list[str] | None,
    signature: str | None,
    inputs: list[str] | None,
    input_shapes: list[str] | None,
) -> LoadedModel:
    """The model at `model`, as the options say.

    Raises:
        ConfigError: A shape can't be read.
        Else as `graphquant_export.inputs.load_model`.
    """
    shapes = None if not input_shapes else dict(_shapes(input_shapes))
    from graphquant_export.inputs import load_model

    return load_model(model, outputs, signature, inputs=inputs or None, input_shapes=shapes)


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
