"""Wheels of every package, and environments with some of them installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Iterable
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "export", "qat", "wq", "cli")
PLUGINS = ("conv3d", "power_of_two", "npz", "count")


def _build(folder: Path, target: Path, kind: str = "wheel") -> Path:
    """The distribution of the project in `folder`, in the new folder `target`."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="session")
def build() -> Callable[..., Path]:
    """`build(folder, target, "sdist")` builds with the backend that pip would use."""
    return _build


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheel of each package and of each example plugin, by the name of its folder."""
    target = tmp_path_factory.mktemp("wheels")
    folders = [ROOT / "packages" / name for name in PACKAGES]
    folders += [ROOT / "examples" / "plugins" / name for name in PLUGINS]
    return {folder.name: _build(folder, target / folder.name) for folder in folders}


@attrs.frozen
class Environment:
    """A virtual environment."""

    folder: Path

    @property
    def site_packages(self) -> Path:
        """Where its packages lie."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / version / "site-packages"

    def install(self, wheels: Iterable[Path]) -> None:
        """Installs `wheels` and nothing else."""
        options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
        python = str(self.folder / "bin" / "python")
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--python", python, "install", *options]
            + [str(wheel) for wheel in wheels],
            env=_clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def run(
        self, program: str, *arguments: object, cwd: Path, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """What ``<environment>/bin/<program>`` does in the folder `cwd`."""
        return subprocess.run(
            [str(self.folder / "bin" / program), *map(str, arguments)],
            cwd=cwd,
            env=_clean_environment() | variables,
            capture_output=True,
            text=True,
            check=False,
        )


def _clean_environment() -> dict[str, str]:
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "GRAPHQUANT_DISABLE_PLUGINS")
    return {key: value for key, value in os.environ.items() if key not in ours}


@pytest.fixture(scope="session")
def environment(
    tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]
) -> Callable[..., Environment]:
    """`environment("core", "wq", without=["MNN"])`: those wheels, and nothing else of graphquant.

    Third-party packages, TensorFlow above all, are links to those of this environment, but for the
    ones whose names start as `without` says.
    """

    def make(*names: str, without: Iterable[str] = ()) -> Environment:
        made = Environment(tmp_path_factory.mktemp("environment"))
        venv.create(made.folder, symlinks=True)
        hidden = tuple(name.lower() for name in ("pip-", "pip", "__pycache__", *without))
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            name = entry.name.lower()
            if "graphquant" in name or name.endswith(".pth") or name.startswith(hidden):
                continue
            (made.site_packages / entry.name).symlink_to(entry)
        made.install(wheels[name] for name in names)
        return made

    return make


@pytest.fixture(scope="session")
def fresh_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Environment]:
    """`fresh_environment("python3.12")`: an empty one of that interpreter, with pip."""

    def make(python: str) -> Environment:
        made = Environment(tmp_path_factory.mktemp("fresh"))
        subprocess.run([python, "-m", "venv", str(made.folder)], check=True)
        return made

    return make
