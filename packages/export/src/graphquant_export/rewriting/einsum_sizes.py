"""Shapes of the products that an Einsum becomes."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from graphquant_export.rewriting.einsum_letters import Letters
from graphquant_export.rewriting.site import Site


class Sizes:
    """The size of each letter, static where it is."""

    def __init__(self, site: Site, letters: Letters) -> None:
        self._site = site
        self._static: dict[str, int | None] = {}
        self._source: dict[str, tuple[int, int]] = {}
        for port, names in enumerate((letters.left, letters.right)):
            for axis, (letter, size) in enumerate(
                zip(names, site.op.inputs[port].shape, strict=True)
            ):
                if self._static.get(letter) is None:
                    self._static[letter], self._source[letter] = size, (port, axis)

    def matrices(self, x: str, has: Sequence[str], groups: Sequence[Sequence[str]]) -> str:
        """`x`, which has the letters `has`, with one axis for each of `groups` of them."""
        site, wanted = self._site, [letter for group in groups for letter in group]
        order = [list(has).index(letter) for letter in wanted]
        if order != sorted(order):
            x = site.add("Transpose", x, site.constant(order, tf.int32), Tperm=tf.int32)
        if all(len(group) == 1 for group in groups):
            return x
        return site.add("Reshape", x, self._products(groups), Tshape=tf.int32)

    def ordered(
        self, product: str, natural: Sequence[str], wanted: Sequence[str]
    ) -> tf.compat.v1.NodeDef:
        """The last op: `product`, whose values are in the order `natural`, with axes `wanted`."""
        site = self._site
        shape = self._products([(name,) for name in natural])
        if tuple(natural) == tuple(wanted):
            return site.node("Reshape", product, shape, Tshape=tf.int32)
        shaped = site.add("Reshape", product, shape, Tshape=tf.int32)
        order = [natural.index(name) for name in wanted]
        return site.node("Transpose", shaped, site.constant(order, tf.int32), Tperm=tf.int32)

    def _products(self, groups: Sequence[Sequence[str]]) -> str:
        """A shape of one size for each of `groups`: the product of its letters' sizes."""
        sizes = [self._static_product(group) for group in groups]
        if sizes.count(None) <= 1:
            return self._site.constant([-1 if size is None else size for size in sizes], tf.int32)
        parts = [
            self._dynamic_product(group) if size is None else self._vector(size)
            for group, size in zip(groups, sizes, strict=True)
        ]
        axis = self._site.constant(0, tf.int32)
        return self._site.add("ConcatV2", *parts, axis, T=tf.int32, N=len(parts), Tidx=tf.int32)

    def _static_product(self, names: Sequence[str]) -> int | None:
        product = 1
        for size in (self._static[name] for name in names):
            if size is None:
                return None
            product *= size
        return product

    def _dynamic_product(self, names: Sequence[str]) -> str:
        sizes = [self._size(name) for name in names]
        product = sizes[0]
        for size in sizes[1:]:
            product = self._site.add("Mul", product, size, T=tf.int32)
        return product

    def _size(self, letter: str) -> str:
        """The size of `letter`, int32 ``[1]``."""
        static = self._static[letter]
        if static is not None:
            return self._vector(static)
        port, axis = self._source[letter]
        site = self._site
        shape = site.add("Shape", site.inputs[port], out_type=tf.int32)
        ends = [site.constant([end], tf.int32) for end in (axis, axis + 1, 1)]
        return site.add("StridedSlice", shape, *ends, T=tf.int32, Index=tf.int32)

    def _vector(self, size: int) -> str:
        return self._site.constant([size], tf.int32)
