"""A bias that is added behind the Reshape of a product, added before it: that of the layer."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from graphquant_core.graph.affine import ADDING_TYPES
from graphquant_export.rewriting.rule import Rule
from graphquant_export.rewriting.site import Site

_MATRIX = 2


def _last(site: Site) -> tf.compat.v1.NodeDef | None:
    for port in (0, 1):
        shaped = site.op.inputs[port]
        # What a bias is takes a session: it is asked for last.
        bias = site.value(1 - port) if _is_shaped_product(site, shaped) else None
        if bias is not None and _is_of_columns(bias, shaped):
            product = shaped.op.inputs[0].op
            flat = site.constant(bias.reshape(-1))
            added = site.add("BiasAdd", product.name, flat, data_format="NHWC")
            shape = site.editor.node(shaped.op.name).input[1]
            return site.node("Reshape", added, shape, Tshape=shaped.op.inputs[1].dtype)
    return None


def _is_shaped_product(site: Site, shaped: tf.Tensor) -> bool:
    """Whether `shaped` is the Reshape of a product that nothing else takes."""
    if shaped.op.type != "Reshape" or shaped.shape.rank is None:
        return False
    product = shaped.op.inputs[0]
    known = product.op.type == "MatMul" and product.shape.rank == _MATRIX
    return known and all(len(site.view.consumers(tensor)) == 1 for tensor in (shaped, product))


def _is_of_columns(bias: np.ndarray, shaped: tf.Tensor) -> bool:
    """Whether `bias` has a value for each column of the product that `shaped` is."""
    if bias.ndim > shaped.shape.rank:
        return False
    sizes = bias.shape[next((i for i, size in enumerate(bias.shape) if size > 1), 0) :]
    columns = shaped.shape.as_list()[-len(sizes) :] if sizes else []
    product = shaped.op.inputs[0]
    return bool(bias.size == product.shape[-1]) and columns == list(sizes)


BIAS_BEFORE_RESHAPE = Rule(frozenset({"BiasAdd", *ADDING_TYPES}), _last)
