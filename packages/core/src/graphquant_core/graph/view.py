"""A read-only view of a tf.Graph: consumers with their ports, and what depends on fed data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from functools import cached_property
from itertools import chain
from operator import itemgetter

import tensorflow as tf

# Ops without inputs that stand for stored values. Every other op without inputs brings data in.
VARIABLE_TYPES = frozenset({"VariableV2", "Variable", "VarHandleOp", "AutoReloadVariable"})
STORED_TYPES = VARIABLE_TYPES | {"Const", "NoOp", "HostConst"}
# Stateful ops that only read or write variables; any other stateful op may return fresh data.
STATEFUL_ON_VARIABLES = frozenset(
    {"ReadVariableOp", "VarIsInitializedOp", "AssignVariableOp", "ResourceGather"}
)


class GraphView:
    """Answers about `graph` as it is when each answer is first asked for.

    Args:
        graph: The graph to look at. It is never changed through this class.
    """

    def __init__(self, graph: tf.Graph) -> None:
        self.graph = graph

    @cached_property
    def operations(self) -> tuple[tf.Operation, ...]:
        """Every op, in the order of creation."""
        return tuple(self.graph.get_operations())

    @cached_property
    def _by_type(self) -> dict[str, list[tuple[int, tf.Operation]]]:
        found: dict[str, list[tuple[int, tf.Operation]]] = defaultdict(list)
        for place, op in enumerate(self.operations):
            found[op.type].append((place, op))
        return found

    @property
    def types(self) -> Collection[str]:
        """The types of all ops."""
        return self._by_type.keys()

    def of_types(self, types: Iterable[str]) -> list[tf.Operation]:
        """The ops of `types`, in the order of creation.

        Asking every op for its type costs more than all else that most questions need.
        """
        found = [self._by_type[kind] for kind in set(types) if kind in self._by_type]
        # Those of one type are in order.
        places = found[0] if len(found) == 1 else sorted(chain(*found), key=itemgetter(0))
        return [op for _, op in places]

    @cached_property
    def _consumers(self) -> dict[tf.Operation, list[tuple[tf.Operation, int]]]:
        found: dict[tf.Operation, list[tuple[tf.Operation, int]]] = defaultdict(list)
        _add_consumers(found, self.operations)
        return found

    def extend(self, redirected: Iterable[tuple[tf.Operation, int]] = ()) -> None:
        """Take in the ops that were added since, and the inputs that were `redirected`.

        Cheaper than a new view by what the graph had before.
        """
        known = len(self.operations)
        operations = tuple(self.graph.get_operations())
        added = operations[known:]
        if "_consumers" in self.__dict__:
            _add_consumers(self._consumers, added)
            for op, port in redirected:
                self._consumers[op.inputs[port].op].append((op, port))
        if "_data_ops" in self.__dict__:
            for op in added:
                if any(x.op in self._data_ops for x in op.inputs) or self.brings_data(op):
                    self._data_ops.add(op)
        if "_by_type" in self.__dict__:
            for place, op in enumerate(added, known):
                self._by_type[op.type].append((place, op))
        self.__dict__["operations"] = operations

    def consumers(self, tensor: tf.Tensor) -> list[tuple[tf.Operation, int]]:
        """Every (op, input index) that takes `tensor`."""
        return [
            (op, port)
            for op, port in self._consumers.get(tensor.op, ())
            if op.inputs[port] is tensor
        ]

    def downstream(self, starts: Iterable[tf.Operation]) -> set[tf.Operation]:
        """`starts` and every op that takes a tensor computed from one of them."""
        reached = set(starts)
        waiting = list(reached)
        while waiting:
            for op, _ in self._consumers.get(waiting.pop(), ()):
                if op not in reached:
                    reached.add(op)
                    waiting.append(op)
        return reached

    @cached_property
    def _data_ops(self) -> set[tf.Operation]:
        starts: list[tf.Operation] = []
        for places in self._by_type.values():
            ops = [op for _, op in places]
            if not _may_have_no_inputs(ops[0]):
                # One answer for all of the type: asking 100,000 ops takes longer than the walk.
                starts.extend(ops if self.brings_data(ops[0]) else ())
            else:
                starts.extend(filter(self.brings_data, ops))
        return self.downstream(starts)

    @cached_property
    def _fresh(self) -> dict[str, bool]:
        return {}

    def brings_data(self, op: tf.Operation) -> bool:
        """Whether `op` itself is fed, iterated or drawn at random."""
        if not op.inputs:
            return op.type not in STORED_TYPES
        # An OpDef is parsed each time that it is asked for, and is the same for all ops of a type.
        kind = op.type
        if kind not in self._fresh:
            self._fresh[kind] = _brings_fresh_data(op)
        return self._fresh[kind]

    def depends_on_data(self, tensor: tf.Tensor) -> bool:
        """Whether `tensor` changes with what is fed, iterated or drawn at random.

        A tensor that doesn't is a function of variables and constants alone, so that freezing
        turns it into a constant.
        """
        return tensor.op in self._data_ops


def _add_consumers(
    found: dict[tf.Operation, list[tuple[tf.Operation, int]]], operations: Iterable[tf.Operation]
) -> None:
    for op in operations:
        for port, tensor in enumerate(op.inputs):
            found[tensor.op].append((op, port))


def _may_have_no_inputs(op: tf.Operation) -> bool:
    """Whether some ops of the type of `op` have inputs and others may have none."""
    if op.op_def is None:
        return True
    arguments = op.op_def.input_arg
    return bool(arguments) and all(one.number_attr or one.type_list_attr for one in arguments)


def _brings_fresh_data(op: tf.Operation) -> bool:
    """Whether ops of the type of `op`, which has inputs, return more than their inputs say."""
    if op.type == "PlaceholderWithDefault":
        return True
    if op.op_def is None or op.type in STATEFUL_ON_VARIABLES:
        return False
    return bool(op.op_def.is_stateful) and not _holds_functions_only(op)


def _holds_functions_only(op: tf.Operation) -> bool:
    # A call of a function counts by its inputs, as the ops in its body would.
    return any(attribute.type in ("func", "list(func)") for attribute in op.op_def.attr)
