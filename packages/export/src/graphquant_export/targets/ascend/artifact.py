"""The two files of an Ascend export."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import attrs
import tensorflow as tf

from graphquant_core.exporter import ExportSource
from graphquant_export.targets.ascend.deploy import DeployedLayer
from graphquant_export.targets.ascend.functions import without_ascend_functions
from graphquant_export.targets.save_path import ENDINGS, writable_paths


@attrs.frozen
class AscendArtifact:
    """What an Ascend export wrote.

    Attributes:
        quantized_path: Graph with the function library: for TensorFlow and for Ascend's compiler.
        deploy_path: The same nodes without the library.
        layers: The deployed layers, in the order of the graph.
        source: What they were made of.
    """

    target: ClassVar[str] = "ascend"

    quantized_path: Path
    deploy_path: Path
    layers: tuple[DeployedLayer, ...]
    source: ExportSource

    @property
    def paths(self) -> tuple[Path, ...]:
        """Both files."""
        return (self.quantized_path, self.deploy_path)


def artifact_paths(save_path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """``<save_path>_quantized.pb`` and ``<save_path>_deploy.pb``, both writable.

    Raises:
        FileWriteError: One of them can't be written, or `save_path` names no file.
    """
    quantized, deploy = writable_paths(save_path, *ENDINGS["ascend"])
    return quantized, deploy


def artifact_files(
    quantized: tf.compat.v1.GraphDef, paths: tuple[Path, Path]
) -> list[tuple[Path, bytes]]:
    """(path, content) of both files, for `write_together`."""
    graphs = (quantized, without_ascend_functions(quantized))
    contents = (graph.SerializeToString(deterministic=True) for graph in graphs)
    return list(zip(paths, contents, strict=True))
