"""From a float model and samples to the best quantised model, without labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy.typing as npt

from graphquant_core.arguments import checked_bool
from graphquant_core.exceptions import ConfigError
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.registry import load_registry
from graphquant_core.target_rules import TargetRules
from graphquant_export.inputs import LoadedModel
from graphquant_tune.folded import fold_model
from graphquant_tune.goals import Goal, checked_bits, parse_within, size_in_bytes
from graphquant_tune.int8 import tune_int8
from graphquant_tune.loop import Schedule
from graphquant_tune.report import Report, silent
from graphquant_tune.result import TunedModel
from graphquant_tune.samples import Samples
from graphquant_tune.task import Task
from graphquant_tune.weights import tune_weights

DEFAULT_BITS = 4
"""Bits of a weight when weights alone are quantised and nothing else is said."""


def tune(
    model: LoadedModel,
    samples: Mapping[str, npt.ArrayLike],
    target: str,
    *,
    weight_only: bool = False,
    bits: int | None = None,
    size: int | str | None = None,
    within: str | None = None,
    steps: int = 1400,
    minutes: float | None = None,
    batch_size: int = 64,
    skip_layers: Iterable[str] = (),
    seed: int = 0,
    curve: bool = False,
    report: Report = silent,
) -> TunedModel:
    """`model` quantised for `target`, and trained to give the float model's answers on `samples`.

    Args:
        model: What `graphquant_export.load_model` returned.
        samples: Samples of each input, by its name, without labels: some thousand are best. Arrays
            that are mapped from a file stay there.
        target: Name of the target.
        weight_only: Whether activations stay float; else they become int8, and weights as well.
        bits: With `weight_only`, 2 to 8 for every weight; small groups get 8 while that costs
            little. The default is 4.
        size: Bytes of the target's file, ``"90kB"``, or a share of the float graph, ``"12%"``. With
            `weight_only` each layer gets bits by what it costs; else it is in int8 or stays float,
            those first that cost most for their size.
        within: How far the outputs may be from the float model's before training: at least
            ``"30dB"``, or at most ``"1%"`` of the answers changed. Layers that cost too much stay
            float.
        steps: Training steps; 0 for the best without training.
        minutes: Time after which training ends, if its steps aren't done.
        batch_size: Samples of a step.
        skip_layers: Names or patterns of layers that stay float.
        seed: Of the order of the samples: the same one gives the same model.
        curve: Whether size against quality is measured, which `report_chapter` draws.
        report: Hears of progress.

    Raises:
        ConfigError, BitsError: An argument has a wrong value, or a goal can't be reached.
        ConfigError, RangeError, NonFiniteError: `samples` don't fit the model, or it answers NaN.
        UnknownNameError: There is no such target or layer.
        NoLayersError: The model has no layer to quantise.
    """
    default = DEFAULT_BITS if weight_only else 8
    goal = _goal(bits, default, size, within, model.graph_def.ByteSize())
    exporter = load_registry().exporter(target)
    if not weight_only and goal.bits != 8:
        since = getattr(exporter, "rules", TargetRules()).eight_bits_since
        raise ConfigError(
            f"bits ({bits!r}) is for weight_only: with int8 activations weights have 8 bits for "
            f'"{target}"{since and f", since {since}"}; give weight_only, whose activations are '
            "floats, or a size, within which some layers stay float"
        )
    schedule = Schedule(_whole("steps", steps, 0), _minutes(minutes), _whole("seed", seed, 0))
    folded = fold_model(model.graph_def, model.outputs)
    found = Samples(import_frozen(folded.graph_def), samples, _whole("batch_size", batch_size, 1))
    found.check_varied()
    if isinstance(skip_layers, str):
        raise ConfigError(f"skip_layers ({skip_layers!r}) must be a list of layer names")
    learned, judges = found.parted()
    task = Task(
        folded, learned, judges, target, tuple(skip_layers), schedule, report,
        checked_bool("curve", curve),
    )  # fmt: skip
    return tune_weights(task, goal) if weight_only else tune_int8(task, goal)


def _goal(
    bits: int | None,
    default: int,
    size: int | str | None,
    within: str | None,
    float_bytes: int,
) -> Goal:
    given = {"bits": bits, "size": size, "within": within}
    said = [name for name, value in given.items() if value is not None]
    if len(said) > 1:
        raise ConfigError(f"{said[0]} and {said[1]} are given: give one of bits, size and within")
    return Goal(
        default if bits is None else checked_bits(bits),
        None if size is None else size_in_bytes(size, float_bytes),
        None if within is None else parse_within(within),
    )


def _whole(argument: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < least:
        raise ConfigError(f"{argument} ({value!r}) must be an integer of at least {least}")
    return int(value)


def _minutes(minutes: Any) -> float | None:
    if minutes is None:
        return None
    number = isinstance(minutes, (int, float)) and not isinstance(minutes, bool)
    if not number or not minutes > 0:
        raise ConfigError(f"minutes ({minutes!r}) must be a positive number")
    return float(minutes)
