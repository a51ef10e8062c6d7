"""The quantised model between a graph with its factors and every target. It imports TensorFlow.

`model` builds it, once for everybody who has it; `emit` writes it as a graph in a form:
`float_form` for simulations and converters, `exact_form` for exact integers, and a target's own.
"""

from __future__ import annotations
