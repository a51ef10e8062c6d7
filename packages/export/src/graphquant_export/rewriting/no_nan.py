"""DivNoNan and its like: 0 where the second operand is 0, for finite operands."""

from __future__ import annotations

import tensorflow as tf

from graphquant_export.rewriting.rule import Rule
from graphquant_export.rewriting.site import Site


def _div_no_nan(site: Site) -> tf.compat.v1.NodeDef:
    x, y = site.inputs
    divisor = site.value(1)
    if divisor is not None and divisor.all():
        return site.node("RealDiv", x, y)
    zero = _is_zero(site, y)
    quotient = site.add("RealDiv", x, site.add("AddV2", y, zero))
    return site.node("Mul", quotient, site.add("Sub", site.constant(1), zero))


def _xdivy(site: Site) -> tf.compat.v1.NodeDef:
    x, y = site.inputs
    # 0 / 0 is 0, and anything else over 0 is what it is in a division.
    both = site.add("Mul", _is_zero(site, x), _is_zero(site, y))
    return site.node("RealDiv", x, site.add("AddV2", y, both))


def _mul_no_nan(site: Site) -> tf.compat.v1.NodeDef:
    return site.node("Mul", *site.inputs)


def _is_zero(site: Site, x: str) -> str:
    """1 where `x` is 0, else 0."""
    equal = site.add("Equal", x, site.constant(0), incompatible_shape_error=True)
    return site.editor.add(_cast(site, equal))


def _cast(site: Site, x: str) -> tf.compat.v1.NodeDef:
    node = site.node("Cast", x, SrcT=tf.bool, DstT=site.dtype, Truncate=False)
    del node.attr["T"]
    return node


DIV_NO_NAN = Rule(frozenset({"DivNoNan"}), _div_no_nan)
XDIVY = Rule(frozenset({"Xdivy"}), _xdivy)
MUL_NO_NAN = Rule(frozenset({"MulNoNan"}), _mul_no_nan)
