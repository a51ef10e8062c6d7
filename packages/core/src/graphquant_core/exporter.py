"""The contract of an export target."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import attrs
import numpy.typing as npt

from graphquant_core.derived import Keeping

if TYPE_CHECKING:
    import tensorflow as tf

    from graphquant_core.export_options import ExportOption
    from graphquant_core.runtime import Runtime
    from graphquant_core.target_rules import TargetRules
    from graphquant_core.weight_record import Factors


@attrs.frozen(eq=False)
class ExportSource(Keeping):
    """What an artifact was made of, and what was derived of it.

    Attributes:
        model: The frozen graph that was given.
        outputs: Names of the ops that are its outputs.
        record: The factors that were given, or the grids of weights alone.
    """

    model: tf.compat.v1.GraphDef = attrs.field(repr=False)
    outputs: tuple[str, ...]
    record: Factors = attrs.field(repr=False)


class Artifact(Protocol):
    """What an export wrote."""

    @property
    def target(self) -> str:
        """Name of the exporter."""
        ...

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, the main one first."""
        ...

    @property
    def source(self) -> ExportSource:
        """What it was made of."""
        ...


@runtime_checkable
class Exporter(Protocol):
    """Turns a frozen graph and its record into files for one runtime."""

    @property
    def name(self) -> str:
        """Name of the target."""
        ...

    def export(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Factors,
        save_path: str | os.PathLike[str],
        *,
        calibration: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Artifact:
        """Writes the files whose names start with `save_path`, all of them or none.

        Args:
            model: Frozen graph, with the fake quantisers that it was trained with, or float.
            outputs: Names of the ops that are the model's outputs.
            record: Factors of each layer, a ``graphquant_core.record.Record``; or how the weights
                alone are quantised, a ``graphquant_core.weight_record.WeightRecord``. A target
                refuses what it has no models of.
            save_path: Start of the names of the files.
            calibration: Samples for each placeholder, by its name. The record covers what goes
                into the layers; a target that also needs the range of what comes out of one
                observes it on these. Without it such layers stay float.
        """
        ...


@runtime_checkable
class EndingsExporter(Exporter, Protocol):
    """An exporter that says which files it writes, so that none is written over an input."""

    @property
    def endings(self) -> Sequence[str]:
        """What follows `save_path` in the name of each file."""
        ...


@runtime_checkable
class OptionsExporter(Exporter, Protocol):
    """An exporter whose `export` takes keywords of its own.

    On the command line each is ``--option NAME=VALUE``.
    """

    @property
    def options(self) -> Sequence[ExportOption]:
        """The keywords."""
        ...


@runtime_checkable
class RoundingExporter(Exporter, Protocol):
    """An exporter whose target rounds more than what goes into the layers.

    What it rounds is planned from its rules, the same for training, post-training, export and
    verification; `graphquant_export.quantized.simulate_target` gives the graph to export.

    """

    @property
    def rules(self) -> TargetRules:
        """What the target rounds."""
        ...


@runtime_checkable
class RunnableExporter(Exporter, Protocol):
    """An exporter whose artifacts can be run here, so that they can be verified."""

    def runtime(self, artifact: Any) -> Runtime:
        """What runs `artifact`, which this exporter made.

        Raises:
            MissingDependencyError: The runtime is not installed; says what to install.
        """
        ...


@runtime_checkable
class ReopeningExporter(RunnableExporter, Protocol):
    """An exporter that finds its artifacts on the disk again, to verify them later."""

    def open(self, save_path: str | os.PathLike[str], source: ExportSource) -> Any:
        """The artifact that `export` wrote for `save_path`, as `export` returned it.

        Args:
            save_path: What `export` was given.
            source: What it was made of: the same frozen graph, outputs and record.

        Raises:
            ModelFileError: A file is missing or isn't of the target's format; names it.
        """
        ...
