"""What the command line imports before it has work to do."""

from __future__ import annotations

import subprocess
import sys

import pytest

_RUN_THEN_LIST_MODULES = """
import sys
from graphquant_cli.main import main
try:
    main()
finally:
    sys.stderr.write("\\nMODULES " + " ".join(sys.modules))
"""


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
    done = subprocess.run(
        [sys.executable, "-c", _RUN_THEN_LIST_MODULES, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    modules = done.stderr.rsplit("MODULES ", 1)[1].split()
    assert "graphquant_cli.main" in modules
    assert "tensorflow" not in modules
