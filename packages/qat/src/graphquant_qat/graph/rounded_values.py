"""What a target rounds besides the inputs of layers, in a graph that is trained for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import attrs
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.graph import GraphView
from graphquant_core.layer import Layer
from graphquant_core.listing import choices, listed
from graphquant_core.plan import Plan
from graphquant_core.registry import Registry
from graphquant_core.target_rules import TargetRules
from graphquant_export.quantized.named_rules import rules_by_target
from graphquant_export.quantized.rounding_plan import ResultOfLayer, RoundingPlan, plan_roundings
from graphquant_qat.graph.layer_result import layer_result


def rules_of(target: str | Sequence[str], registry: Registry) -> TargetRules:
    """The rules of `target`, or of several together, which round all that one of them does.

    Raises:
        ConfigError: `target` is no name, or two of them round one type of op differently.
        UnknownNameError: No exporter has such a name; names the closest.
    """
    rules, found = TargetRules(), rules_by_target(target, registry)
    for one in found.values():
        rules = _together(rules, one, list(found))
    # What is exact for one target and not for another is left as most of them have it.
    summed = frozenset.intersection(*(one.summed_zero_points for one in found.values()))
    return attrs.evolve(rules, summed_zero_points=summed)


def _together(one: TargetRules, other: TargetRules, names: Sequence[str]) -> TargetRules:
    fixed = {**one.fixed, **other.fixed}
    kinds = (
        one.rescaling | other.rescaling,
        one.averaging | other.averaging,
        frozenset(fixed),
    )
    clash = {kind for a, b in combinations(kinds, 2) for kind in a & b}
    clash |= {kind for kind, grid in one.fixed.items() if fixed[kind] != grid}
    if clash:
        raise ConfigError(
            f"target ({listed(names)}) names targets that contradict each other: they round "
            f"{choices(sorted(clash))} differently; train for one of them"
        )
    return TargetRules(
        results=one.results | other.results,
        rescaling=kinds[0],
        averaging=kinds[1],
        fixed=fixed,
        integer_outputs=one.integer_outputs or other.integer_outputs,
    )


def plan_values(
    view: GraphView,
    layers: Sequence[Layer],
    rules: TargetRules,
    quantizers: Mapping[tuple[str, int], str],
    splits: Mapping[str, tf.Operation],
    unrounded: Collection[str] = (),
) -> RoundingPlan:
    """What is rounded besides the inputs of `layers`.

    Args:
        view: View of the graph before it is rewritten.
        layers: The layers that are quantised.
        rules: The target's rules.
        quantizers: Name of the quantiser at each (op, input) that gets one.
        splits: The Split before each layer of a group, by the layer's name.
        unrounded: Names of values that stay float.
    """
    if not rules.rounds:
        return RoundingPlan()
    results = [
        ResultOfLayer(layer.name, layer.op_type, _result(view, layer, layer.name in splits))
        for layer in layers
    ]
    return plan_roundings(view, rules, results, quantizers, (), unrounded=unrounded)


def _result(view: GraphView, layer: Layer, grouped: bool) -> tf.Tensor:
    tensor = layer_result(view, layer)
    # The members of a group are one layer, whose result is behind their Concat.
    return view.consumers(tensor)[0][0].outputs[0] if grouped else tensor


def configurable_values(view: GraphView, plan: Plan, rules: TargetRules) -> tuple[Layer, ...]:
    """What a configuration may have an entry for: values with a range of their own, no weights.

    Args:
        view: View of the graph before it is rewritten.
        plan: Its plan, all of whose layers may be quantised.
        rules: The target's rules.
    """
    if not rules.rounds:
        return ()
    edges = {}
    for layer in plan.layers:
        op = view.graph.get_operation_by_name(layer.name)
        edges[op.name, layer.activation_port] = str(op.inputs[layer.activation_port].name)
    return tuple(
        Layer(value.name, value.tensor.op.type, activation_port=0)
        for value in plan_values(view, plan.layers, rules, edges, {}).values
        if value.has_range and value.quantizer is None
    )
