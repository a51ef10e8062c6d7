"""The export targets of this package, registered as a plugin like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphquant_core.hookspecs import hookimpl
from graphquant_export.targets.ascend_exporter import AscendExporter
from graphquant_export.targets.litert_exporter import LiteRtExporter
from graphquant_export.targets.mnn_exporter import MnnExporter
from graphquant_export.targets.onnx_exporter import OnnxExporter

if TYPE_CHECKING:
    from graphquant_core.exporter import Exporter


@hookimpl
def graphquant_exporters() -> list[Exporter]:
    """The targets ascend, mnn, onnx and litert."""
    return [AscendExporter(), MnnExporter(), OnnxExporter(), LiteRtExporter()]
