"""The root of the workspace is not a package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("arguments", [("install", "."), ("install", "-e", "."), ("wheel", ".")])
def test_root_refuses_to_be_installed(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """pip fails at the root, builds nothing, and names every folder that can be installed."""
    action, *what = arguments
    place = "--wheel-dir" if action == "wheel" else "--target"
    done = subprocess.run(
        [sys.executable, "-m", "pip", action, "--no-index", place, str(tmp_path), *what],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "is not a package: install" in done.stderr
    for pyproject in ROOT.glob("packages/*/pyproject.toml"):
        assert f"./packages/{pyproject.parent.name}" in done.stderr
    assert not list(tmp_path.iterdir())
