"""Artifacts, and the exporters that run them or find them on the disk again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphquant_core.exceptions import ConfigError, ModelFileError
from graphquant_core.exporter import (
    Artifact,
    Exporter,
    ExportSource,
    ReopeningExporter,
    RunnableExporter,
)
from graphquant_core.registry import Registry, load_registry
from graphquant_core.target_rules import TargetRules
from graphquant_export.verification.checks import ArtifactFile

if TYPE_CHECKING:
    import tensorflow as tf


def open_artifact(
    target: str,
    save_path: str | os.PathLike[str],
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: Any,
    *,
    registry: Registry | None = None,
) -> Artifact:
    """The artifact that was exported to `save_path`, from its files and what it was made of.

    Args:
        target: Name of the exporter.
        save_path: What the export was given.
        model: The frozen graph that was exported.
        outputs: Names of the ops that are its outputs.
        record: The factors that were exported.
        registry: Where exporters come from; the installed plugins by default.

    Raises:
        UnknownNameError: No exporter has that name.
        ConfigError: The exporter can't open what it wrote.
        OutputNotFoundError: An output is not in the model.
        RecordError: The record doesn't belong to the model.
        ModelFileError: A file is missing or isn't of the target's format; names it.
    """
    from graphquant_core.graph.frozen import check_outputs

    exporter = (registry or load_registry()).exporter(target)
    if not isinstance(exporter, ReopeningExporter):
        raise ConfigError(f'target ("{target}") cannot open what it exported: export again')
    names = check_outputs(model, outputs)
    artifact: Artifact = exporter.open(save_path, ExportSource(model, names, record))
    return artifact


def runnable_exporter(artifact: Artifact, registry: Registry | None) -> RunnableExporter:
    """The exporter that made `artifact`.

    Raises:
        ConfigError: `artifact` is none, or its exporter has no runtime.
        UnknownNameError: No exporter has the name of its target.
    """
    if not all(hasattr(artifact, name) for name in ("target", "paths", "source")):
        raise ConfigError(f"artifact ({type(artifact).__name__}) must be what an exporter returned")
    exporter = (registry or load_registry()).exporter(artifact.target)
    if not isinstance(exporter, RunnableExporter):
        raise ConfigError(
            f'artifact: the target "{artifact.target}" has no runtime here to verify it in'
        )
    return exporter


def target_rules(artifact: Artifact, exporter: Exporter) -> TargetRules:
    """What the target of `artifact` rounds: as the artifact says, else as its exporter does."""
    rules: TargetRules = getattr(artifact, "rules", getattr(exporter, "rules", TargetRules()))
    return rules


def artifact_files(artifact: Artifact) -> tuple[ArtifactFile, ...]:
    """Names and sizes of the files of `artifact`.

    Raises:
        ModelFileError: A file is missing; names it.
    """
    return tuple(ArtifactFile(path.name, _size(path)) for path in artifact.paths)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        reason = error.strerror or error
        raise ModelFileError(f"artifact ({path}) cannot be read: {reason}") from error
