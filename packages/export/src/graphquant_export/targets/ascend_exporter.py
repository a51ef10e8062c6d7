"""The export target "ascend". Importing it is cheap: TensorFlow comes in with the first export."""

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
    from graphquant_export.targets.ascend import AscendArtifact, AscendRuntime


class AscendExporter:
    """``<save_path>_quantized.pb`` and ``<save_path>_deploy.pb`` for Ascend's compiler ATC."""

    name = "ascend"
    endings = ENDINGS["ascend"]

    @property
    def rules(self) -> TargetRules:
        """What it rounds."""
        from graphquant_export.targets.rules import ASCEND

        return ASCEND

    def export(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Any,
        save_path: str | os.PathLike[str],
        *,
        calibration: Mapping[str, npt.ArrayLike] | None = None,  # noqa: ARG002 not needed here
    ) -> AscendArtifact:
        """As `graphquant_export.targets.ascend.export_ascend`."""
        from graphquant_export.targets.ascend import export_ascend

        return export_ascend(model, outputs, record, save_path)

    def runtime(self, artifact: AscendArtifact) -> AscendRuntime:
        """As `graphquant_export.targets.ascend.AscendRuntime`."""
        from graphquant_export.targets.ascend import AscendRuntime

        return AscendRuntime(artifact)

    def open(self, save_path: str | os.PathLike[str], source: ExportSource) -> AscendArtifact:
        """As `graphquant_export.targets.ascend.open_ascend`."""
        from graphquant_export.targets.ascend import open_ascend

        return open_ascend(save_path, source)
