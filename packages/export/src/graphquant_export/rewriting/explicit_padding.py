"""Padding that a convolution says by itself: a Pad in front of one without any."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from graphquant_core.handler import text_attribute
from graphquant_export.rewriting.rule import Rule
from graphquant_export.rewriting.site import Site


def _last(site: Site) -> tf.compat.v1.NodeDef | None:
    if text_attribute(site.op, "padding") != "EXPLICIT":
        return None
    sizes = np.reshape(site.op.get_attr("explicit_paddings"), (-1, 2))
    value, weight = site.inputs
    padded = site.add("Pad", value, site.constant(sizes, tf.int32), Tpaddings=tf.int32)
    last = tf.compat.v1.NodeDef()
    last.CopyFrom(site.editor.node(site.op.name))
    del last.input[:]
    last.input.extend([padded, weight])
    last.attr["padding"].s = b"VALID"
    del last.attr["explicit_paddings"].list.i[:]
    return last


EXPLICIT_PADDING = Rule(frozenset({"Conv2D", "DepthwiseConv2dNative"}), _last)
