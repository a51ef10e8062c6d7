"""Layers of third parties, which LiteRT has no int8 kernel for."""

from __future__ import annotations

from types import SimpleNamespace

from graphquant_core.layer import Layer
from graphquant_export.targets.litert.executions import layer_execution

EMPTY = SimpleNamespace(find=lambda name: None, operators=())


def test_a_layer_without_int8_kernel_is_float_and_not_missing():
    """Conv3D computes in float, with the op types that have a kernel; a Conv2D would be missing."""
    layers = [Layer(name, name, 0, 1, (1, 1, 1, 2, 3), (4,), 4) for name in ("Conv3D", "Conv2D")]
    third_party, built_in = (layer_execution(EMPTY, layer, ()) for layer in layers)
    assert third_party.execution == "float"
    assert "Conv2D, Conv2DBackpropInput" in third_party.reason
    assert built_in.execution == "missing"
