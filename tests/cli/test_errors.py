"""How the command line fails."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, PluginError

Run = Callable[..., Any]


def _frozen(*nodes: dict[str, str]) -> bytes:
    graph_def = tf.compat.v1.GraphDef()
    for node in nodes:
        graph_def.node.add(**node)
    return graph_def.SerializeToString()


def _saved_model() -> bytes:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved_model = SavedModel(saved_model_schema_version=1)
    saved_model.meta_graphs.add().graph_def.node.add(name="x", op="Placeholder")
    return saved_model.SerializeToString()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a GraphDef with nodes"),
        (b'node { name: "x" op: "Placeholder" }', "not a GraphDef"),
        (b"\xff" * 100, "not a GraphDef"),
        (_saved_model(), "not a SavedModel"),
        (_frozen({"name": "x", "op": "NoSuchOp"}), "NoSuchOp"),
        (_frozen({"name": "x", "op": "NoOp"}, {"name": "x", "op": "NoOp"}), "'x'"),
    ],
    ids=["empty", "text", "noise", "SavedModel", "unknown op", "name twice"],
)
def test_bad_model_is_one_error_line_and_exit_code_2(
    graphquant: Run, tmp_path: Path, content: bytes, says: str
) -> None:
    """A file that is no frozen graph: exit code 2, one line naming the file and what is wrong."""
    model = tmp_path / "model.pb"
    model.write_bytes(content)
    outcome = graphquant("plan", model)
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    line = outcome.stderr.removesuffix("\n")
    assert line.startswith(f"error: model ({model})")
    assert "\n" not in line
    assert says in line


@pytest.mark.parametrize(
    ("name", "says"), [("missing.pb", "No such file"), ("", "directory")], ids=["missing", "folder"]
)
def test_unreadable_model_is_one_error_line_and_exit_code_2(
    graphquant: Run, tmp_path: Path, name: str, says: str
) -> None:
    """A path that cannot be read: exit code 2, one line with the system's reason."""
    outcome = graphquant("plan", tmp_path / name)
    assert outcome.exit_code == 2
    assert re.fullmatch(rf"error: model \(.*\) .*{says}.*\n", outcome.stderr, re.IGNORECASE)


def test_missing_tensorflow_names_the_install_line(
    graphquant: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TensorFlow, `plan` says what to install."""
    model = tmp_path / "model.pb"
    model.write_bytes(_frozen({"name": "x", "op": "NoOp"}))
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    outcome = graphquant("plan", model)
    assert outcome.exit_code == 2
    assert 'pip install "tensorflow' in outcome.stderr


def test_a_plugin_conflict_is_one_error_line(
    graphquant: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error before any command runs is printed like every other."""

    def two_owners() -> None:
        raise PluginError("two owners")

    monkeypatch.setattr("graphquant_cli.main.load_registry", two_owners)
    outcome = graphquant("plugins")
    assert (outcome.exit_code, outcome.stderr) == (2, "error: two owners\n")


def test_a_defect_is_one_line_and_exit_code_3(
    graphquant: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that nobody raised on purpose is told apart from an error of the user's."""

    def broken() -> None:
        raise ZeroDivisionError("nobody expected this")

    monkeypatch.setattr("graphquant_cli.main.load_registry", broken)
    outcome = graphquant("plugins")
    assert outcome.exit_code == 3
    assert "ZeroDivisionError: nobody expected this" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["plugins"], ["plugins", "--json"]], ids=" ".join)
def test_output_that_finds_no_room_is_no_defect(arguments: list[str]) -> None:
    """A full disk behind `>`: exit code 2 and the system's reason, without a second message."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from graphquant_cli.main import main; main()", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "error: cannot write the output: No space left on device\n"


def test_an_interrupt_is_no_check_that_failed(
    graphquant: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C ends with the shell's own code for it, 130, and without a traceback."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("graphquant_export.inputs.load_model", interrupted)
    outcome = graphquant("plan", tmp_path)
    assert outcome.exit_code == 130
    assert "Traceback" not in outcome.stderr


def test_wrong_usage_is_exit_code_2(graphquant: Run) -> None:
    """An unknown option or command is answered by the usage."""
    for arguments in (["plan", "--no-such-option"], ["no-such-command"], ["quantize", "m.pb"]):
        outcome = graphquant(*arguments)
        assert outcome.exit_code == 2
        assert "Usage: graphquant" in outcome.stderr


def test_debug_keeps_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With --debug the exception itself leaves `main`."""
    from graphquant_cli.main import main

    monkeypatch.setattr("sys.argv", ["graphquant", "--debug", "plan", str(tmp_path)])
    with pytest.raises(ModelFileError):
        main()


def test_error_is_red_where_there_are_colours(
    graphquant: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Only the word `error:` is coloured, and brackets in a message are no markup."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    outcome = graphquant("plan", tmp_path / "[red]missing[/red].pb")
    assert outcome.stderr.startswith("\x1b[1;31merror:\x1b[0m ")
    assert "[red]missing[/red].pb" in outcome.stderr


def test_a_warning_is_printed_once(graphquant: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that some library gave the root logger doesn't print the line a second time."""
    printer = logging.StreamHandler(sys.stderr)

    def warns() -> None:
        logging.getLogger().addHandler(printer)
        logging.getLogger("graphquant_export.somewhere").warning("a range is narrow")
        raise PluginError("two owners")

    monkeypatch.setattr("graphquant_cli.main.load_registry", warns)
    try:
        outcome = graphquant("plugins")
    finally:
        logging.getLogger().removeHandler(printer)
    assert outcome.stderr == "warning: a range is narrow\nerror: two owners\n"
    assert logging.getLogger("graphquant_export").propagate
