"""The contract of an export target."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import tensorflow as tf


class Artifact(Protocol):
    """What an export wrote."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, the main one first."""
        ...


@runtime_checkable
class Exporter(Protocol):
    """Turns a frozen graph and its record into files for one runtime.

    Attributes:
        name: Name of the target.
    """

    name: str

    def export(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Any,
        save_path: str | os.PathLike[str],
    ) -> Artifact:
        """Writes the files whose names start with `save_path`, all of them or none.

        Args:
            model: Frozen graph, with the fake quantisers that it was trained with, or float.
            outputs: Names of the ops that are the model's outputs.
            record: Factors of each layer: a ``graphquant_export.record.Record``.
            save_path: Start of the names of the files.
        """
        ...
