"""Ops that read the shape of what they take, and no value of it."""

from __future__ import annotations

SHAPE_TYPES = frozenset({"Rank", "Shape", "ShapeN", "Size"})
