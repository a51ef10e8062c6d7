"""The quantised model between a graph with its factors and every target. It imports TensorFlow."""

from __future__ import annotations
