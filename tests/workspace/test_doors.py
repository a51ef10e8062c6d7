"""Which package may import which, and who may import TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _modules(package: str) -> list[str]:
    source = ROOT / "packages" / package / "src"
    paths = (path.relative_to(source).with_suffix("") for path in source.rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_imports_keep_the_contracts() -> None:
    """import-linter finds the doors cli -> {qat, wq} -> export -> core kept."""
    done = _run(
        "-c", "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_numpy_rooms_of_core_start_without_tensorflow() -> None:
    """No module of core imports TensorFlow on import, save those of `graph` and `testing`."""
    rooms = [
        module
        for module in _modules("core")
        if not module.startswith(("graphquant_core.graph", "graphquant_core.testing"))
    ]
    assert "graphquant_core.grid" in rooms
    done = _run("-c", f"import sys, {', '.join(rooms)}; print('tensorflow' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("package", ["core", "export", "qat", "wq", "cli"])
def test_package_starts_without_tensorflow(package: str) -> None:
    """`import graphquant_<package>` does not import TensorFlow."""
    done = _run("-c", f"import sys, graphquant_{package}; print('tensorflow' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")
