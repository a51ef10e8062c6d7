"""NCHW graphs in NHWC, for runtimes that know nothing else."""

from __future__ import annotations

from graphquant_export.layout.to_channels_last import INNER, is_nchw, with_channels_last

__all__ = ["INNER", "is_nchw", "with_channels_last"]
