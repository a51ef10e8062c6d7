"""Erfc(x) = 1 - Erf(x), to float32's precision beside 1."""

from __future__ import annotations

import tensorflow as tf

from graphquant_export.rewriting.rule import Rule
from graphquant_export.rewriting.site import Site


def _last(site: Site) -> tf.compat.v1.NodeDef:
    return site.node("Sub", site.constant(1), site.add("Erf", *site.inputs))


ERFC = Rule(frozenset({"Erfc"}), _last)
