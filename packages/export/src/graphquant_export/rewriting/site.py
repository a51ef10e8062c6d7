"""The place in a graph where a rule is applied."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import GraphDefEditor, evaluate_constants
from graphquant_core.graph.frozen.node_def import const_node, node_def


@attrs.frozen
class Site:
    """An op to be rewritten.

    Attributes:
        editor: The graph that is changed.
        op: The op, as it is in the graph before any rule was applied: its shapes are known.
        view: View of that graph.
    """

    editor: GraphDefEditor
    op: tf.Operation
    view: GraphView

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that the op takes now."""
        taken = self.editor.node(self.op.name).input
        return tuple(name for name in taken if not name.startswith("^"))

    @property
    def dtype(self) -> tf.DType:
        """The type of what the op returns."""
        return self.op.outputs[0].dtype

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Adds an op of the site's dtype, unless `attributes` say another T; its name."""
        return self.editor.add(self.node(op_type, *inputs, **attributes))

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> tf.compat.v1.NodeDef:
        """An op as `add` adds it, not yet in the graph."""
        name = self.editor.unique_name(f"{self.op.name}/{op_type}")
        return node_def(name, op_type, inputs, **{"T": self.dtype, **attributes})

    def constant(self, value: npt.ArrayLike, dtype: tf.DType | None = None) -> str:
        """Adds a constant, of the site's dtype by default; its name."""
        array = np.asarray(value, (dtype or self.dtype).as_numpy_dtype)
        return self.editor.add(const_node(self.editor.unique_name(f"{self.op.name}/const"), array))

    def value(self, port: int) -> npt.NDArray[Any] | None:
        """What input `port` is; ``None`` when it depends on data."""
        tensor = self.op.inputs[port]
        if self.view.depends_on_data(tensor):
            return None
        return evaluate_constants(self.op.graph, [tensor])[0]
