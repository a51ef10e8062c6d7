"""The export target "ascend". Importing it is cheap: TensorFlow comes in with the first export."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

    from graphquant_export.ascend import AscendArtifact


class AscendExporter:
    """``<save_path>_quantized.pb`` and ``<save_path>_deploy.pb`` for Ascend's compiler ATC."""

    name = "ascend"

    def export(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Any,
        save_path: str | os.PathLike[str],
        *,
        calibration: Mapping[str, npt.ArrayLike] | None = None,  # noqa: ARG002 not needed here
    ) -> AscendArtifact:
        """As `graphquant_export.ascend.export_ascend`."""
        from graphquant_export.ascend import export_ascend

        return export_ascend(model, outputs, record, save_path)
