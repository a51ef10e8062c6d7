"""Where a model could begin, and what could be static of it, so that every target takes it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import attrs
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_core.graph.functions import (
    function_library,
    functions_called_by,
    nodes_in_functions,
)
from graphquant_core.graph.while_loops import ops_in_loops
from graphquant_core.registry import load_registry
from graphquant_export.inputs.begin_at import begin_at
from graphquant_export.inputs.branches.undecided import conditions, deciding_input
from graphquant_export.inputs.input_shapes import with_input_shapes
from graphquant_export.inputs.input_values import with_input_values
from graphquant_export.inputs.loaded_model import LoadedModel
from graphquant_export.inputs.settled import settled

_FOREIGN = frozenset(
    {
        *("Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"),
        *("Case", "If", "StatelessCase", "StatelessIf", "StatelessWhile", "While"),
    }
)
_FOREIGN_STARTS = ("Decode", "IO", "Lookup", "Parse", "TensorArray", "TensorList")
_SIZE, _LENGTH = 224, 16
_IMAGES = 4
_DOUBLINGS = 14


@attrs.frozen
class Proposal:
    """Arguments of `load_model`.

    Attributes:
        input_values: Inference for inputs that switch it on and off: False.
        decided: Name and type of a condition that one of them decides.
        inputs: Names of the ops to begin at; ``()`` where the placeholders do.
        before: Name and type of an op that no target takes, in front of them.
        input_shapes: Static shapes for inputs that have open ones: a batch of 1, and what nothing
            in the model says, such as 224 for the height of an image, or the double of that, and
            so on, where the model takes no less.
        opened: Name and type of an op that wants them; ``None`` where that are sizes alone.
    """

    input_values: Mapping[str, bool] = attrs.field(factory=dict, hash=False)
    decided: tuple[str, str] | None = None
    inputs: tuple[str, ...] = ()
    before: tuple[str, str] | None = None
    input_shapes: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict, hash=False)
    opened: tuple[str, str] | None = None


def propose_inputs(model: LoadedModel) -> Proposal:
    """What would make `model` one that all targets take; nothing where it is that already.

    A model is cut where one tensor of floats is all that goes from preprocessing to the layers.
    """
    proposal = Proposal()
    if switches := _switches(model):
        proposal = Proposal(dict.fromkeys(switches, False), next(iter(switches.values())))
        model = settled(with_input_values(model, proposal.input_values))
    view, model = _of_layers(model)
    foreign = [op for op in view.operations if _is_foreign(op) and _has_data(view, op)]
    begin = _begin(view, model.outputs, foreign)
    if begin is not None:
        named = [op for op in foreign if not op.type.startswith("Placeholder")]
        first = next(filter(_has_foreign_type, named), named[0])
        proposal = attrs.evolve(proposal, inputs=(begin.name,), before=(first.name, first.type))
        model = begin_at(model, proposal.inputs, keep_outputs=False)
        view = GraphView(model.graph())
    wants = next((op for op in view.operations if _wants_sizes(view, op)), None)
    shapes = _workable(model, view, wants is not None)
    if not shapes:
        return proposal
    opened = None if wants is None else (wants.name, wants.type)
    return attrs.evolve(proposal, input_shapes=shapes, opened=opened)


def _switches(model: LoadedModel) -> dict[str, tuple[str, str]]:
    """Name and type of a condition, by the name of the boolean input that alone decides it."""
    view = GraphView(model.graph())
    found = {deciding_input(view, op): (op.name, op.type) for op in reversed(conditions(view))}
    graph = view.graph
    return {
        name: op
        for name, op in reversed(found.items())
        if name is not None
        and graph.get_operation_by_name(name).outputs[0].dtype == tf.bool
        and len(model.inputs) > 1
    }


def _of_layers(model: LoadedModel) -> tuple[GraphView, LoadedModel]:
    """`model` without outputs that no layer has a part in, such as what a loop returns besides."""
    view = GraphView(model.graph())
    behind = view.downstream(_computing(view))
    outputs = tuple(
        name for name in model.outputs if view.graph.get_operation_by_name(name) in behind
    )
    if not outputs or outputs == model.outputs:
        return view, model
    pruned = GraphDefEditor(model.graph_def).graph_def(outputs)
    return GraphView(import_frozen(pruned)), LoadedModel(pruned, model.inputs, outputs)


def _computing(view: GraphView) -> set[tf.Operation]:
    """The layers, and what layers are inside of that stay float, such as the loop of an LSTM."""
    handlers = load_registry().handlers
    library = function_library(view.graph)
    loops = ops_in_loops(view)

    def computes(op: tf.Operation) -> bool:
        if op.name in loops:
            return op.type in handlers
        called = functions_called_by(op.node_def)
        return any(node.op in handlers for _, node in nodes_in_functions(called, library, set()))

    layers = {layer.name for layer in plan_graph(view.graph, view=view).layers}
    return {op for op in view.operations if op.name in layers or computes(op)}


def _has_foreign_type(op: tf.Operation) -> bool:
    return op.type in _FOREIGN or op.type.startswith(_FOREIGN_STARTS)


def _is_foreign(op: tf.Operation) -> bool:
    return _has_foreign_type(op) or any(
        tensor.dtype.base_dtype == tf.string for tensor in (*op.inputs, *op.outputs)
    )


def _has_data(view: GraphView, op: tf.Operation) -> bool:
    return any(view.depends_on_data(tensor) for tensor in op.outputs)


def _begin(
    view: GraphView, outputs: Collection[str], foreign: Collection[tf.Operation]
) -> tf.Operation | None:
    """The first op of a known shape behind all of `foreign` that has all layers behind it."""
    layers = _computing(view)
    if not foreign or not layers:
        return None
    narrow = [
        op for op in _narrow(view, outputs, foreign) if layers <= view.downstream([op]) - {op}
    ]
    # The user knows an op behind preprocessing sooner than one of a loop.
    return min(
        narrow, key=lambda op: (not _is_sized(op.outputs[0].shape), op in foreign), default=None
    )


def _is_sized(shape: tf.TensorShape) -> bool:
    return shape.rank is not None and all(size is not None for size in shape[1:])


def _narrow(
    view: GraphView, outputs: Collection[str], foreign: Collection[tf.Operation]
) -> Iterator[tf.Operation]:
    """The ops whose one tensor of floats is all that others take of `foreign` and what follows.

    The last of `foreign` may be one: a placeholder takes its place.
    """
    behind, waiting = view.downstream(foreign), set(foreign)
    live: dict[tf.Operation, set[tf.Operation]] = {}
    for op in view.operations:
        if op not in behind:
            continue
        waiting.discard(op)
        for before in [before for before, takers in live.items() if op in takers]:
            live[before].discard(op)
            if not live[before]:
                del live[before]
        takers = {taker for tensor in op.outputs for taker, _ in view.consumers(tensor)}
        if takers or op.name in outputs:
            live[op] = takers
        single = not waiting and set(live) == {op} and len(op.outputs) == 1
        if single and op.outputs[0].dtype.is_floating:
            yield op


def _wants_sizes(view: GraphView, op: tf.Operation) -> bool:
    """Whether a target takes `op` with static sizes alone, the batch's included."""
    if op.type in _FOREIGN:
        return _has_data(view, op)
    sizes = op.outputs[0].shape[1:3] if op.type == "Conv2DBackpropInput" else ()
    return any(size is None for size in sizes)


def _workable(model: LoadedModel, view: GraphView, batch: bool) -> dict[str, tuple[int, ...]]:
    """Static shapes, of the smallest multiple of usual sizes with which TensorFlow takes `model`.

    A network without padding, or one that crops, takes nothing shorter than what it looks at.
    """
    inputs = [view.graph.get_operation_by_name(name) for name in model.inputs]
    usual: dict[str, tuple[int, ...]] = {}
    for times in (2**power for power in range(_DOUBLINGS)):
        shapes = {op.name: shape for op in inputs if (shape := _static(op, batch, times))}
        usual = usual or shapes
        try:
            with_input_shapes(model, shapes)
        except ConfigError:
            continue
        return shapes
    return usual


def _static(placeholder: tf.Operation, batch: bool, times: int) -> tuple[int, ...] | None:
    """A static shape; ``None`` where it is static but for a batch that may be open."""
    shape = placeholder.outputs[0].shape
    if not shape.rank or not (batch or any(size is None for size in shape[1:])):
        return None
    if shape.is_fully_defined():
        return None
    size = times * (_SIZE if shape.rank == _IMAGES else _LENGTH)
    first, *rest = shape.as_list()
    return (first or 1, *(size if known is None else known for known in rest))
