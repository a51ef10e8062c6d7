"""Loops of a static number of steps, written out: for runtimes that take no loop."""

from __future__ import annotations

from graphquant_export.loops.remove import without_loops

__all__ = ["without_loops"]
