"""What of a graph MNN's converter hasn't, in ops that it has, and in the layout that it takes."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from graphquant_export.layout import with_channels_last
from graphquant_export.loops import without_loops
from graphquant_export.rewriting import rewrite
from graphquant_export.rewriting.einsum import EINSUM
from graphquant_export.rewriting.explicit_padding import EXPLICIT_PADDING
from graphquant_export.rewriting.fake_quant import FAKE_QUANT
from graphquant_export.rewriting.no_nan import DIV_NO_NAN, MUL_NO_NAN, XDIVY
from graphquant_export.rewriting.product_of_matrices import PRODUCT_OF_MATRICES
from graphquant_export.targets.mnn.plain_constants import with_plain_constants

_RULES = (EXPLICIT_PADDING, FAKE_QUANT, EINSUM, DIV_NO_NAN, MUL_NO_NAN, XDIVY, PRODUCT_OF_MATRICES)


def with_known_ops(
    graph_def: tf.compat.v1.GraphDef, outputs: Sequence[str]
) -> tf.compat.v1.GraphDef:
    """`graph_def` without what it may hold of loops, NCHW, FakeQuant ops, Einsum and DivNoNan.

    Its constants hold each of their values.

    Raises:
        UnsupportedLayerError: A loop has no static number of steps.
    """
    plain = without_loops(graph_def, outputs, "MNN")
    known = rewrite(with_channels_last(plain, outputs), outputs, _RULES)
    return with_plain_constants(known)
