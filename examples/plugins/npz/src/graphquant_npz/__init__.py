"""The export target "npz": the integers of every layer as NumPy arrays."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core import hookimpl
from graphquant_core.exporter import ExportSource
from graphquant_core.files import write_whole

if TYPE_CHECKING:
    import tensorflow as tf

    from graphquant_core.target_rules import TargetRules
    from graphquant_npz.runtime import NpzRuntime


@attrs.frozen
class NpzArtifact:
    """What an export wrote."""

    target: ClassVar[str] = "npz"
    paths: tuple[Path, ...]
    source: ExportSource


class NpzExporter:
    """``<layer>/scale_d``, ``offset_d``, ``weight_codes``, ``weight_scale``, ``bias_codes``.

    The results of convolutions are rounded, too: ``<value>/scale`` and ``zero_point``.
    """

    name = "npz"
    endings = (".npz",)

    @property
    def rules(self) -> TargetRules:
        """What the engine rounds besides the inputs of layers."""
        from graphquant_core.target_rules import TargetRules

        return TargetRules(results=frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative"}))

    def export(
        self,
        model: tf.compat.v1.GraphDef,
        outputs: Sequence[str],
        record: Any,
        save_path: str | os.PathLike[str],
        *,
        calibration: Mapping[str, npt.ArrayLike] | None = None,
    ) -> NpzArtifact:
        from graphquant_export import simulate, simulate_target

        simulated = simulate(model, outputs, record)
        target = simulate_target(simulated, record, self.rules, calibration)
        arrays: dict[str, Any] = {
            f"{layer.name}/{name}": np.asarray(getattr(layer, name))
            for layer in simulated.layers
            for name in ("scale_d", "offset_d", "weight_codes", "weight_scale", "bias_codes")
            if getattr(layer, name) is not None
        }
        for value in target.values:
            arrays[f"{value.name}/scale"] = np.float32(value.grid.scale)
            arrays[f"{value.name}/zero_point"] = np.int8(value.grid.zero_point)
        content = io.BytesIO()
        np.savez(content, **arrays)
        artifact = self.open(save_path, ExportSource(model, simulated.outputs, target.record))
        write_whole(artifact.paths[0], content.getvalue())
        return artifact

    def runtime(self, artifact: NpzArtifact) -> NpzRuntime:
        """Optional: with it an artifact can be verified."""
        from graphquant_npz.runtime import NpzRuntime

        return NpzRuntime(artifact)

    def open(self, save_path: str | os.PathLike[str], source: ExportSource) -> NpzArtifact:
        """Optional: with it an artifact can be verified later, in another process."""
        return NpzArtifact((Path(f"{os.fspath(save_path)}.npz"),), source)


@hookimpl
def graphquant_exporters() -> list[NpzExporter]:
    """``npz``."""
    return [NpzExporter()]
