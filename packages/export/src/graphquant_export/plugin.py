"""The export targets of this package, registered as a plugin like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.hookspecs import hookimpl
from graphquant_export.targets.target import ASCEND, LITERT, MNN, ONNX

if TYPE_CHECKING:
    from graphquant_core.exporter import Exporter


@hookimpl
def graphquant_exporters() -> list[Exporter]:
    """The targets ascend, mnn, onnx and litert."""
    return [ASCEND, MNN, ONNX, LITERT]
