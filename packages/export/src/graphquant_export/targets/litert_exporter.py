"""The export target "litert". Importing it is cheap: TensorFlow comes in with the first export."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphquant_export.targets.save_path import ENDINGS

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

    from graphquant_core.exporter import ExportSource
    from graphquant_core.target_rules import TargetRules
    from graphquant_export.targets.litert import LiteRtArtifact, LiteRtRuntime


class LiteRtExporter:
    """``<save_path>.tflite`` for LiteRT, formerly TensorFlow Lite."""

    name = "litert"
    endings = ENDINGS["litert"]

    @property
    def rules(self) -> TargetRules:
        """What it rounds."""
        from graphquant_export.targets.rules import LITERT

        return LITERT

    def export(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Any,
        save_path: str | os.PathLike[str],
        *,
        calibration: Mapping[str, npt.ArrayLike] | None = None,
    ) -> LiteRtArtifact:
        """As `graphquant_export.targets.litert.export_litert`."""
        from graphquant_export.targets.litert import export_litert

        return export_litert(model, outputs, record, save_path, calibration=calibration)

    def runtime(self, artifact: LiteRtArtifact) -> LiteRtRuntime:
        """As `graphquant_export.targets.litert.LiteRtRuntime`."""
        from graphquant_export.targets.litert import LiteRtRuntime

        return LiteRtRuntime(artifact)

    def open(self, save_path: str | os.PathLike[str], source: ExportSource) -> LiteRtArtifact:
        """As `graphquant_export.targets.litert.open_litert`."""
        from graphquant_export.targets.litert import open_litert

        return open_litert(save_path, source)
