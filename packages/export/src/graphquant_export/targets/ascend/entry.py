"""What the target "ascend" does, for `graphquant_export.targets.target`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy.typing as npt
import tensorflow as tf

from graphquant_core.weight_record import Factors
from graphquant_export.targets.ascend.artifact import AscendArtifact
from graphquant_export.targets.ascend.export import export_ascend, open_ascend
from graphquant_export.targets.ascend.functions import ASCEND_OPS
from graphquant_export.targets.ascend.runtime import AscendRuntime

integer_ops = ASCEND_OPS
runtime = AscendRuntime
open = open_ascend  # noqa: A001 the contract's name


def export(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: Factors,
    save_path: str | os.PathLike[str],
    *,
    calibration: Mapping[str, npt.ArrayLike] | None = None,  # noqa: ARG001 not needed here
) -> AscendArtifact:
    """As `export_ascend`."""
    return export_ascend(model, outputs, record, save_path)
