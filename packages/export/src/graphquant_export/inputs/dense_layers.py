"""Products with a weight as layers, however a framework writes them down."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from graphquant_export.rewriting import rewrite
from graphquant_export.rewriting.bias_before_reshape import BIAS_BEFORE_RESHAPE
from graphquant_export.rewriting.weight_product import (
    BATCH_MATMUL_WITH_WEIGHT,
    EINSUM_WITH_WEIGHT,
)


def with_dense_layers(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """`graph_def` with a MatMul for each Einsum or BatchMatMul with a weight, its bias behind it.

    A graph that was trained with fake quantisers stays as it was trained.

    Args:
        graph_def: A frozen graph.
        outputs: Names of its outputs.
    """
    if any(node.op.startswith("FakeQuant") for node in graph_def.node):
        return graph_def
    products = rewrite(graph_def, outputs, (EINSUM_WITH_WEIGHT, BATCH_MATMUL_WITH_WEIGHT))
    return rewrite(products, outputs, (BIAS_BEFORE_RESHAPE,))
