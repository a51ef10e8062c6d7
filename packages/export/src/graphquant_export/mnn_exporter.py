"""The export target "mnn". Importing it is cheap: TensorFlow comes in with the first export."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt
    import tensorflow as tf

    from graphquant_export.mnn.export import MnnArtifact


class MnnExporter:
    """``<save_path>.mnn`` with quantised weights, and what it was converted from."""

    name = "mnn"

    def export(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Any,
        save_path: str | os.PathLike[str],
        *,
        calibration: Mapping[str, npt.ArrayLike] | None = None,  # noqa: ARG002 not needed here
    ) -> MnnArtifact:
        """As `graphquant_export.mnn.export.export_mnn`; `record` holds LayerParams."""
        from graphquant_export.mnn.export import export_mnn

        return export_mnn(model, outputs, record, save_path)
