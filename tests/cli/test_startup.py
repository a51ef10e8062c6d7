"""What the command line imports before it has work to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_RUN_THEN_LIST_MODULES = """
import sys
from pathlib import Path
from graphquant_cli.main import main
try:
    main()
finally:
    sys.stderr.write("\\nMODULES " + " ".join(sys.modules))
"""


def _modules(arguments: tuple[str, ...]) -> list[str]:
    """The modules that a run of `graphquant` with `arguments` imports."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN_THEN_LIST_MODULES, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    modules = done.stderr.rsplit("MODULES ", 1)[1].split()
    assert "graphquant_cli.main" in modules
    return modules


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("plugins",),
        ("plugins", "--json"),
        ("plan", "--help"),
        ("plan", "missing.pb"),
        ("quantize", "--help"),
        (
            "quantize",
            "missing.pb",
            "--calibration",
            "x.npy",
            "--target",
            "ascend",
            "--save-path",
            "m",
        ),
        ("quantize", "m.pb", "--target", "ascend", "--save-path", "m"),
        ("export", "m.pb", "--record", "missing.txt", "--target", "ascend", "--save-path", "m"),
        ("verify", "--help"),
        ("report", "--help"),
        ("config", "--help"),
        ("config", "check", "missing.json", "missing.pb"),
        ("record", "show", "missing.txt"),
        ("record", "diff", "missing.txt", "missing.txt"),
    ],
    ids=" ".join,
)
def test_no_tensorflow_unless_a_graph_is_loaded(arguments: tuple[str, ...]) -> None:
    """Help, versions, plugins and a wrong path are answered without importing TensorFlow."""
    assert "tensorflow" not in _modules(arguments)


@pytest.mark.parametrize("arguments", [("--help",), ("plugins",), ("plan", "--help")], ids=" ".join)
def test_help_needs_no_numpy(arguments: tuple[str, ...]) -> None:
    """What a shell asks often is answered without NumPy."""
    assert "numpy" not in _modules(arguments)


def test_the_command_starts_without_the_packages_that_train() -> None:
    """Without graphquant-qat and graphquant-wq, every command is there, and `plugins` says why."""
    blocked = "import sys; sys.modules['graphquant_qat'] = sys.modules['graphquant_wq'] = None"
    for arguments, expected in ((["--help"], "config"), (["plugins"], "graphquant-wq")):
        script = f"{blocked}; from graphquant_cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
        )
        assert expected in done.stdout
    assert "failed to load" in done.stdout


@pytest.mark.parametrize(
    ("code", "shown"),
    [("raise ImportError('no such wheel')", True), ("raise KeyboardInterrupt", False), ("", False)],
)
def test_what_tensorflow_writes_at_its_import_is_shown_when_that_fails(
    tmp_path: Path, code: str, shown: bool
) -> None:
    """Its libraries write to the file descriptor; the log level doesn't reach all of it.

    Ctrl-C is no failure.
    """
    (tmp_path / "tensorflow.py").write_text(f"import os\nos.write(2, b'a notice')\n{code}\n")
    script = """
from graphquant_cli.tensorflow_import import prepare_import
prepare_import()
try:
    import tensorflow
except ImportError as error:
    print(error)
except KeyboardInterrupt:
    pass
import os
os.write(2, b" and later lines")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert done.stdout == ("no such wheel\n" if shown else "")
    assert done.stderr == ("a notice and later lines" if shown else " and later lines")


@pytest.mark.parametrize("arguments", [("--version",), ("plan", "--help"), ("plan", "missing.pb")])
def test_the_package_runs_as_a_module(arguments: tuple[str, ...]) -> None:
    """``python -m graphquant_cli`` is the command: the same output, usage lines and exit code."""
    command = f"import sys; sys.argv = ['graphquant', *{list(arguments)!r}]"
    script = f"{command}; from graphquant_cli.main import main; main()"
    module, script_ = (
        subprocess.run([sys.executable, *how], capture_output=True, text=True, check=False)
        for how in (["-m", "graphquant_cli", *arguments], ["-c", script])
    )
    assert module.returncode == script_.returncode
    assert module.stdout == script_.stdout
    assert module.stderr == script_.stderr
