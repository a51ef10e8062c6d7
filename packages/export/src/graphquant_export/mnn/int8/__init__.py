"""MNN models that compute with int8. The modules here import TensorFlow."""

from __future__ import annotations
