"""A product with a weight over more axes than a matrix has, as a MatMul: a layer like any other."""

from __future__ import annotations

import attrs
import numpy as np
import tensorflow as tf

from graphquant_export.rewriting.einsum_letters import Letters, letters_of
from graphquant_export.rewriting.einsum_sizes import Sizes
from graphquant_export.rewriting.rule import Rule
from graphquant_export.rewriting.site import Site

_MATRIX = 2
_ALPHABET = "abcdefghijklmnop"


def _einsum(site: Site) -> tf.compat.v1.NodeDef | None:
    letters = letters_of(site.op)
    return None if letters is None else _matmul(site, letters)


def _batch_matmul(site: Site) -> tf.compat.v1.NodeDef | None:
    rank = site.op.inputs[0].shape.rank
    adjoint = site.op.get_attr("adj_x"), site.op.get_attr("adj_y")
    if rank is None or rank < _MATRIX or adjoint[0] or site.op.inputs[1].shape.rank != _MATRIX:
        return None
    *rows, summed, column = tuple(_ALPHABET[: rank + 1])
    weight = (column, summed) if adjoint[1] else (summed, column)
    return _matmul(site, Letters((*rows, summed), weight, (*rows, column)))


def _matmul(site: Site, letters: Letters) -> tf.compat.v1.NodeDef | None:
    weights = [port for port in (0, 1) if not site.view.depends_on_data(site.op.inputs[port])]
    if len(weights) != 1 or site.dtype != tf.float32:
        return None
    (port,) = weights
    sizes = Sizes(site, letters)
    if port == 0:
        letters = attrs.evolve(letters, left=letters.right, right=letters.left)
    batch, rows, columns, summed = letters.groups
    if batch or not rows or not columns or not summed:
        return None
    x = sizes.matrices(site.inputs[1 - port], letters.left, (rows, summed))
    weight = _weight(site, port, letters, (*summed, *columns), len(summed))
    product = site.add("MatMul", x, weight, transpose_a=False, transpose_b=False)
    natural = (*rows, *columns)
    return sizes.ordered(product, natural, letters.result)


def _weight(site: Site, port: int, letters: Letters, wanted: tuple[str, ...], inner: int) -> str:
    """The weight as a matrix; in its own order it is the same constant, whose name stays known."""
    value = site.value(port)
    assert value is not None
    order = [letters.right.index(letter) for letter in wanted]
    shape = [int(np.prod(value.shape[axis])) for axis in order]
    matrix = [int(np.prod(shape[:inner])), int(np.prod(shape[inner:]))]
    if order != sorted(order):
        return site.constant(np.ascontiguousarray(value.transpose(order)).reshape(matrix))
    if value.ndim == _MATRIX:
        return site.inputs[port]
    return site.add("Reshape", site.inputs[port], site.constant(matrix, tf.int32), Tshape=tf.int32)


EINSUM_WITH_WEIGHT = Rule(frozenset({"Einsum"}), _einsum)
BATCH_MATMUL_WITH_WEIGHT = Rule(
    frozenset({"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"}), _batch_matmul
)
"""Of a matrix that all batches share."""
