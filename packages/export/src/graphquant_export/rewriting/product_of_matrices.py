"""A BatchMatMul of two matrices, for a converter that takes it for something else: a batch of 1."""

from __future__ import annotations

import tensorflow as tf

from graphquant_export.rewriting.rule import Rule
from graphquant_export.rewriting.site import Site

_MATRIX = 2


def _last(site: Site) -> tf.compat.v1.NodeDef | None:
    left, right = (tensor.shape.rank for tensor in site.op.inputs)
    if right != _MATRIX or left not in (_MATRIX, None):
        return None
    x, y = site.inputs
    batch = site.add("ExpandDims", x, site.constant(0, tf.int32), Tdim=tf.int32)
    adjoint = {key: site.op.get_attr(key) for key in ("adj_x", "adj_y")}
    product = site.add("BatchMatMulV2", batch, y, **adjoint)
    # MNN's converter loses a Squeeze between a product and what is added to it.
    return site.node("Unpack", product, num=1, axis=0)


PRODUCT_OF_MATRICES = Rule(frozenset({"BatchMatMul", "BatchMatMulV2"}), _last)
