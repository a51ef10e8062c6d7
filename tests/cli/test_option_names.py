"""Messages of the packages speak of options on the command line, not of arguments in Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import graphquant_export as gq
from graphquant_cli.main import build_app
from graphquant_cli.option_names import OPTIONS, in_options
from graphquant_cli.output import print_error, print_warning
from graphquant_core.registry import load_registry
from graphquant_tune import tune

CALLS = (gq.load_model, gq.load_samples, gq.quantize, gq.export, gq.verify, tune)


def options(command: Any) -> Iterator[str]:
    """The long options of `command` and of the commands below it."""
    for parameter in command.params:
        if parameter.param_type_name == "option":
            yield from (name for name in parameter.opts if name.startswith("--"))
    for below in getattr(command, "commands", {}).values():
        yield from options(below)


def test_each_argument_that_has_an_option_is_known() -> None:
    """Whatever a call of Python takes by a name that the command line has, too, or its singular."""
    known = set(options(typer.main.get_command(build_app(load_registry()))))
    assert set(OPTIONS.values()) <= known
    arguments = {name for call in CALLS for name in inspect.signature(call).parameters}
    # MODEL, CONFIG and RECORD are no options, and the others are something else in Python.
    for name in arguments - {"config", "layers", "model", "options", "record", "report"}:
        long = f"--{name.replace('_', '-')}"
        alike = {long, long.removesuffix("s")} & known
        assert not alike or OPTIONS.get(name) in alike, name


@pytest.mark.parametrize(("name", "option"), OPTIONS.items())
def test_an_argument_is_said_as_its_option(
    name: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In front of its value, and with "=" behind it, in errors and in warnings."""
    for say in (print_error, print_warning):
        say(f"{name} (3) must be another; say which ({name}=), or {name}= of your own")
        said = capsys.readouterr().err
        assert f"{option} (3) must be another; say which ({option}), or {option} of" in said


@pytest.mark.parametrize(
    "message",
    [
        'layer "skip_layers" takes "inputs=" and "a/batch_size" (3)',
        "the samples (3) have other inputs, and the target has a size of 4 bits",
        "batch_size=3 is what somebody wrote; x_batch_size and batch_size_2 are names",
        "models/save_path/model.pb has seed=1",
    ],
)
def test_what_is_no_argument_stays(message: str) -> None:
    """Names in quotes, words of a sentence, values, paths."""
    assert in_options(message) == message


def test_an_error_of_a_command_names_the_option(
    graphquant: Callable[..., Any], tmp_path: Path
) -> None:
    """What `tune` refuses of its samples is the option's."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], "x")
        tf.matmul(x, np.eye(4, dtype=np.float32), name="y")
    model, samples = tmp_path / "m.pb", tmp_path / "x.npy"
    model.write_bytes(graph.as_graph_def().SerializeToString())
    np.save(samples, np.eye(4, dtype=np.float32))
    outcome = graphquant(
        "tune", model, "--samples", samples, "--target", "ascend", "--save-path", tmp_path / "t"
    )
    assert outcome.exit_code == 2
    assert "error: --samples (4) are too few" in outcome.stderr


def test_an_error_that_begins_with_an_argument_names_the_option() -> None:
    """`quantize` has calibration samples, and speaks of no value of them."""
    assert in_options('calibration: the value of "x" has NaN').startswith("--samples: the value")
    assert in_options("skip_layers: no layer") == "--skip-layer: no layer"
