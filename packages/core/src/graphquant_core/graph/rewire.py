"""In-place rewriting of a live graph: new ops beside the user's, inputs redirected, all or nothing.

What has no public counterpart on a graph that is already built stands here, and behaves the same
in TensorFlow 2.16 to 2.21: ``Operation._update_input`` redirects an input, ``Operation._set_attr``
marks an op and ``Operation._clear_attr`` takes a mark off, and the variable store's ``_vars`` must
forget the variables of a rewrite that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType

import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph.control_flow import control_flow_context
from graphquant_core.graph.guards import check_rewritable
from graphquant_core.graph.view import VARIABLE_TYPES, GraphView

v1 = tf.compat.v1

_VARIABLE_STORE = ("__variable_store",)
ROLE_ATTRIBUTE = "_graphquant"
ACTIVATION_INPUT = "activation_input"
ACTIVATION_OUTPUT = "activation_output"
WEIGHT_INPUT = "weight_input"
WEIGHT_OUTPUT = "weight_output"
BYPASSED_ATTRIBUTE = "_graphquant_bypassed"
VALUE_INPUT = "value_input"
CALL = "call"
VALUE_OUTPUT = "value_output"
TEACHER = "teacher"
"""Role of ops of a float model that teaches, which no quantiser touches."""
OUTPUT_ROLES = (ACTIVATION_OUTPUT, WEIGHT_OUTPUT, VALUE_OUTPUT)
"""Roles of ops that return what was fake-quantised."""


class Rewrite:
    """A transaction on `graph`: when its block raises, every redirected input is put back.

    Use it as a context manager. On entry `check` raises its guards, before anything is added.
    After a failure, ops that were added remain in the graph (TensorFlow cannot remove them) but
    nothing of the user's refers to them, and the graph's collections are as before.

    Args:
        graph: The graph.
        view: A view of it made before, to save making one.
        check: Which guards hold. `check_extensible` is for a rewrite that a session which is open
            need not see, such as the one that prepares a graph to be frozen.
    """

    def __init__(
        self,
        graph: tf.Graph,
        view: GraphView | None = None,
        check: Callable[[GraphView], None] = check_rewritable,
    ) -> None:
        self.graph = graph
        self.view = view or GraphView(graph)
        self._check = check
        self._undo: list[tuple[tf.Operation, int, tf.Tensor]] = []
        self._collections: dict[str, list[object]] = {}
        self._variables: list[tuple[dict[str, object], set[str]]] = []

    def __enter__(self) -> Rewrite:
        self._check(self.view)
        self._collections = {
            name: list(self.graph.get_collection_ref(name))
            for name in self.graph.get_all_collection_keys()
        }
        stores = self.graph.get_collection_ref(_VARIABLE_STORE)
        self._variables = [(store._vars, set(store._vars)) for store in stores]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._roll_back()

    def redirect(self, op: tf.Operation, port: int, tensor: tf.Tensor) -> None:
        """Let input `port` of `op` take `tensor`, which has that input's dtype and shape."""
        old = op.inputs[port]
        if tensor.dtype.base_dtype != old.dtype.base_dtype:
            raise TypeError(
                f'"{op.name}" input {port} is {old.dtype.name}, not {tensor.dtype.name}'
            )
        tensor.set_shape(old.shape)
        take_instead(op, port, tensor)
        self._undo.append((op, port, old))

    def update_view(self) -> None:
        """Let `view` know what was added and redirected."""
        self.view.extend((op, port) for op, port, _ in self._undo)

    @contextmanager
    def beside(self, op: tf.Operation, variable_device: str | None = None) -> Iterator[None]:
        """Add ops on `op`'s device and in its control flow, whatever scopes the caller is in.

        Variables go to `variable_device` when it is given; a caller's own device scope decides
        where neither it nor the op's device does.
        """
        with ExitStack() as scopes:
            scopes.enter_context(self.graph.as_default())
            scopes.enter_context(tf.control_dependencies(None))
            scopes.enter_context(v1.name_scope(None))
            root = v1.VariableScope(reuse=v1.AUTO_REUSE, name="")
            scopes.enter_context(v1.variable_scope(root, auxiliary_name_scope=False))
            if op.device or variable_device:
                scopes.enter_context(v1.device(None))
                scopes.enter_context(v1.device(_placement(op.device, variable_device)))
            context = control_flow_context(op)
            if context is not None:
                context.Enter()
                scopes.callback(context.Exit)
            yield

    def _roll_back(self) -> None:
        for op, port, old in reversed(self._undo):
            take_instead(op, port, old)
        for name in self.graph.get_all_collection_keys():
            self.graph.get_collection_ref(name)[:] = self._collections.get(name, [])
        for variables, before in self._variables:
            for name in variables.keys() - before:
                del variables[name]


def _placement(device: str, variable_device: str | None) -> Callable[[tf.Operation], str]:
    def place(op: tf.Operation) -> str:
        if op.device:  # a scope further in, such as a strategy's for one replica, has decided
            return op.device
        if op.type in VARIABLE_TYPES and variable_device is not None:
            return variable_device
        return device

    return place


def take_instead(op: tf.Operation, port: int, tensor: tf.Tensor) -> None:
    """Let input `port` of `op`, which no session has run, take `tensor`; nothing puts it back."""
    op._update_input(port, tensor)


def mark(op: tf.Operation, role: str) -> None:
    """Write `role` into `op`, where it outlives freezing, saving and importing."""
    op._set_attr(ROLE_ATTRIBUTE, v1.AttrValue(s=role.encode()))


def mark_bypassed(op: tf.Operation, op_type: str) -> None:
    """Write into `op`, the input of a quantiser, which op in front of it the quantiser computes.

    `graphquant_core.graph.frozen.bypassed` puts it back.
    """
    op._set_attr(BYPASSED_ATTRIBUTE, v1.AttrValue(s=op_type.encode()))


def clear_attribute(op: tf.Operation, name: str) -> None:
    """Take the attribute `name` off `op`."""
    op._clear_attr(name)


def role_of(op: tf.Operation) -> str | None:
    """The role that `mark` wrote into `op`, or ``None``."""
    # Asked for an attribute that isn't there, TensorFlow raises and catches an error, which takes
    # seven times as long as the whole node: but for a constant's, which holds all its values.
    if op.type != "Const":
        attributes = op.node_def.attr
        return attributes[ROLE_ATTRIBUTE].s.decode() if ROLE_ATTRIBUTE in attributes else None
    try:
        value: bytes = op.get_attr(ROLE_ATTRIBUTE)
    except ValueError:
        return None
    return value.decode()


def marked_input(output: tf.Tensor, role: str) -> tf.Tensor:
    """What goes into the fake quantiser whose result is `output`: its op marked `role` takes it.

    Args:
        output: Tensor of an op marked as the output of a quantiser.
        role: `ACTIVATION_INPUT` or `WEIGHT_INPUT`.

    Raises:
        ModelFileError: No op marked `role` stands between `output` and what is quantised before.
    """
    seen = {output.op}
    waiting = [output.op]
    while waiting:
        op = waiting.pop(0)
        if role_of(op) == role:
            return op.inputs[0]
        if op is not output.op and role_of(op) in OUTPUT_ROLES:
            continue
        for tensor in op.inputs:
            if tensor.op not in seen:
                seen.add(tensor.op)
                waiting.append(tensor.op)
    raise ModelFileError(no_beginning(output.op.name))


def no_beginning(name: str) -> str:
    """What is wrong with a fake quantiser whose result is `name` and whose entry is gone."""
    return (
        f'"{name}" is the result of a fake quantiser whose first op is gone: '
        "tf.compat.v1.graph_util.remove_training_nodes and tools like it take Identity ops out; "
        "give the frozen graph as convert_variables_to_constants returned it"
    )
