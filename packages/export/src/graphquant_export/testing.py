"""The contract of an exporter, as one check that plugin authors run on a model of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exporter import Artifact, ReopeningExporter, RunnableExporter
from graphquant_core.record import Record
from graphquant_export.verification import Verification, verify

OUTPUT_MEAN = 0.05
"""Mean difference of an output from exact sums, in steps."""

LAYER_MEAN = 0.02
"""Mean difference of a layer's own, in steps: ties between two codes are rare."""


def check_exporter(
    exporter: RunnableExporter,
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: Record,
    feeds: Mapping[str, npt.ArrayLike],
    folder: Path,
) -> Verification:
    """What `verify` finds of an export, once it is shown that the target computes what it says.

    - An export completes the record: another one from ``artifact.source.record``, without samples,
      writes the same bytes.
    - In the target's runtime every layer of the plan is there, and computes what exact sums give,
      rounded where the exporter's `rules` say and nowhere else.
    - What is opened again from its files is what was exported.

    Args:
        exporter: The exporter, which must be registered.
        model: Frozen graph.
        outputs: Names of the ops that are its outputs.
        record: Scales and offsets of its layers.
        feeds: Samples for each placeholder, by its name.
        folder: An empty folder for the files.

    Raises:
        AssertionError: The contract is broken; names the file, the layer or the output.
    """
    artifact = exporter.export(model, outputs, record, folder / "first", calibration=feeds)
    completed = artifact.source.record
    again = exporter.export(model, outputs, completed, folder / "second")
    for one, other in zip(artifact.paths, again.paths, strict=True):
        assert one.read_bytes() == other.read_bytes(), (
            f"{one.name} and {other.name} differ: from the completed record, without samples, an "
            "export must write the same"
        )
    found = _exact(again, feeds)
    if isinstance(exporter, ReopeningExporter):
        opened: Artifact = exporter.open(folder / "second", again.source)
        assert _figures(_exact(opened, feeds)) == _figures(found), (
            f"{again.paths[0].name} gives other figures when it is opened again"
        )
    return found


def _exact(artifact: Artifact, feeds: Mapping[str, npt.ArrayLike]) -> Verification:
    found = verify(artifact, feeds, layers=True)
    for row in found.executions:
        assert row.execution != "missing", f'layer "{row.layer}" is missing: {row.reason}'
    for layer in found.layers:
        if layer.own is not None:
            assert layer.own.mean <= LAYER_MEAN, (
                f'layer "{layer.layer}" differs by {layer.own.mean:.3g} steps of its own: the '
                "target rounds something that its rules don't say, or otherwise"
            )
    for output in found.outputs:
        truth = output.reference or output.simulation
        assert truth.mean <= OUTPUT_MEAN, (
            f'output "{output.output}" differs by {truth.mean:.3g} steps from exact sums: the '
            "target rounds something that its rules don't say, or otherwise"
        )
    return found


def _figures(found: Verification) -> Any:
    return found.outputs, found.layers, [row.execution for row in found.executions]
