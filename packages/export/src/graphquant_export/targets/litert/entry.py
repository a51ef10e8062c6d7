"""What the target "litert" does, for `graphquant_export.targets.target`."""

from __future__ import annotations

from graphquant_export.targets.litert.artifact import open_litert
from graphquant_export.targets.litert.export import export_litert
from graphquant_export.targets.litert.runtime import LiteRtRuntime

export = export_litert
open = open_litert  # noqa: A001 the contract's name
runtime = LiteRtRuntime
