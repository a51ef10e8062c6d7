"""Einsum of two operands as a product of matrices, one for each combination of shared letters."""

from __future__ import annotations

import tensorflow as tf

from graphquant_export.rewriting.einsum_letters import letters_of
from graphquant_export.rewriting.einsum_sizes import Sizes
from graphquant_export.rewriting.rule import Rule
from graphquant_export.rewriting.site import Site


def _last(site: Site) -> tf.compat.v1.NodeDef | None:
    letters = letters_of(site.op)
    if letters is None:
        return None
    left, right = site.inputs
    sizes = Sizes(site, letters)
    batch, rows, columns, summed = letters.groups
    a = sizes.matrices(left, letters.left, (batch, rows, summed))
    b = sizes.matrices(right, letters.right, (batch, summed, columns))
    product = site.add("BatchMatMulV2", a, b, adj_x=False, adj_y=False)
    return sizes.ordered(product, (*batch, *rows, *columns), letters.result)


EINSUM = Rule(frozenset({"Einsum"}), _last)
"""Of two operands whose letters are all different, without an ellipsis."""
