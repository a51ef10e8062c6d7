"""Sizes that are read from the shape of a tensor, where they are static."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from graphquant_core.graph.frozen.node_def import const_node
from graphquant_export.rewriting.rule import Rule
from graphquant_export.rewriting.site import Site


def _shape(site: Site) -> tf.compat.v1.NodeDef | None:
    shape = site.op.inputs[0].shape
    if not shape.is_fully_defined():
        return None
    return const_node(site.op.name, np.array(shape.as_list(), site.dtype.as_numpy_dtype))


def _part_of_shape(site: Site) -> tf.compat.v1.NodeDef | None:
    """The sizes that a StridedSlice takes of a shape, of which others may be open."""
    source = site.op.inputs[0].op
    if source.type != "Shape" or source.inputs[0].shape.rank is None:
        return None
    begin, end, stride = (site.value(port) for port in (1, 2, 3))
    if begin is None or end is None or stride is None or len(begin) != 1:
        return None
    if site.op.get_attr("ellipsis_mask") or site.op.get_attr("new_axis_mask"):
        return None
    sizes = source.inputs[0].shape.as_list()
    if site.op.get_attr("shrink_axis_mask"):
        found = sizes[int(begin[0])]
    else:
        first = None if site.op.get_attr("begin_mask") else int(begin[0])
        last = None if site.op.get_attr("end_mask") else int(end[0])
        found = sizes[slice(first, last, int(stride[0]))]
    if found is None or None in np.atleast_1d(found):
        return None
    return const_node(site.op.name, np.array(found, site.dtype.as_numpy_dtype))


SHAPE = Rule(frozenset({"Shape"}), _shape)
PART_OF_SHAPE = Rule(frozenset({"StridedSlice"}), _part_of_shape)
