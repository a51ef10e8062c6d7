"""What every kind of model is turned into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    import tensorflow as tf


@attrs.frozen(eq=False)
class LoadedModel:
    """A model that is ready to be planned, quantised and exported.

    Attributes:
        graph_def: Frozen graph, pruned to `outputs`: variables are constants, calls of functions
            that hide layers are inlined.
        inputs: Names of its placeholders, in the order of the model's signature.
        outputs: Names of the ops that are its outputs.
    """

    graph_def: tf.compat.v1.GraphDef
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def graph(self) -> tf.Graph:
        """A new tf.Graph with the nodes of `graph_def`."""
        from graphquant_core.graph.frozen import import_frozen

        return import_frozen(self.graph_def)
