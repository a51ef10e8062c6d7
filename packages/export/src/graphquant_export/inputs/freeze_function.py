"""A function of TensorFlow 2 as a frozen GraphDef: variables are constants, calls are inlined."""

from __future__ import annotations

import attrs
import numpy as np
import tensorflow as tf

# It has no public counterpart, and is the same in TensorFlow 2.16 to 2.21.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from graphquant_core.exceptions import NonFiniteError
from graphquant_export.inputs.names import rename_nodes, without_traces_of_calls


@attrs.frozen(eq=False)
class FrozenFunction:
    """A function as a graph.

    Attributes:
        graph_def: Frozen graph.
        inputs: Names of its placeholders, in the order of the function's arguments.
        outputs: Names of its output tensors, such as ``"Identity:0"``.
    """

    graph_def: tf.compat.v1.GraphDef
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def freeze_function(function: tf.types.experimental.ConcreteFunction) -> FrozenFunction:
    """`function` with its variables as constants of their names, and without calls.

    While and If stay as they are.

    Raises:
        NonFiniteError: A variable holds NaN or infinity; names it.
    """
    names = _variable_names(function)
    # Ops that fill lookup tables are no part of the function, and TensorFlow looks for them there.
    function.graph.clear_collection(tf.compat.v1.GraphKeys.TABLE_INITIALIZERS)
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    outputs = [tensor.name for tensor in frozen.outputs]
    graph_def = rename_nodes(frozen.graph.as_graph_def(), names)
    graph_def, outputs = without_traces_of_calls(graph_def, outputs)
    inputs = [tensor.op.name for tensor in frozen.inputs]
    return FrozenFunction(graph_def, tuple(inputs), tuple(outputs))


def _variable_names(function: tf.types.experimental.ConcreteFunction) -> dict[str, str]:
    """Name of the variable that each captured input of `function` stands for.

    Raises:
        NonFiniteError: A variable holds NaN or infinity; names it.
    """
    variables = {id(variable.handle): variable for variable in function.variables}
    captured = function.captured_inputs
    placeholders = function.inputs[len(function.inputs) - len(captured) :]
    names = {}
    for tensor, placeholder in zip(captured, placeholders, strict=True):
        variable = variables.get(id(tensor))
        if variable is not None:
            name = variable.name.removesuffix(":0")
            check_finite_variable(name, variable)
            names[placeholder.op.name] = name
    return names


def check_finite_variable(name: str, value: object) -> None:
    """Return when the variable called `name`, whose value is `value`, is finite or no float.

    Raises:
        NonFiniteError: It holds NaN or infinity; says in how many elements.
    """
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return
    count = array.size - int(np.count_nonzero(np.isfinite(array)))
    if count:
        raise NonFiniteError(
            f'the variable "{name}" of the model holds NaN or infinity in {count} of {array.size} '
            "elements: train it again, or take an earlier checkpoint"
        )
