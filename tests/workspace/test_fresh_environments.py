"""Installed by pip into fresh environments: every Python, the oldest requirements and the newest.

They download TensorFlow for each environment, so that they run with `make test-install` only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.install

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "export", "qat", "wq", "cli")
# TensorFlow 2.16 has no wheels for Python 3.13.
KINDS = [("3.10", "oldest"), ("3.11", "newest"), ("3.12", "oldest"), ("3.13", "newest")]
FAST_TESTS = (
    "tests/cli",
    "tests/core",
    "tests/end_to_end/test_readme.py",
    "tests/export/test_integer_reference.py",
    "tests/export/test_qat_journey.py",
    "tests/qat/test_journey.py",
    "tests/wq/test_documented_script.py",
    "tests/wq/test_learned_scale.py",
)


@attrs.frozen
class Fresh:
    """A new environment, and which of the allowed versions pip shall choose in it."""

    environment: Any
    age: str
    constraints: Path

    def install(self, *what: object, cwd: Path) -> None:
        """Installs `what` with everything that it requires, which must fit together."""
        for command in (["install", "--constraint", self.constraints, *what], ["check"]):
            options = ["-m", "pip", "--disable-pip-version-check"]
            done = self.environment.run("python", *options, *command, cwd=cwd)
            assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    def output(self, *arguments: object, cwd: Path) -> str:
        """What Python prints."""
        done = self.environment.run("python", *arguments, cwd=cwd)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
        return str(done.stdout)


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def fresh(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    fresh_environment: Callable[[str], Any],
    wheels: dict[str, Path],
) -> Iterator[Fresh]:
    """An environment of one Python, for the oldest versions that the packages allow or the newest.

    Weight quantisation alone is installed in it, from the folders that the README names.
    """
    version, age = request.param
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", ""], check=False).returncode != 0:
        pytest.skip(f"needs python{version}")
    folder = tmp_path_factory.mktemp("constraints")
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(_oldest(wheels) if age == "oldest" else []))
    made = Fresh(fresh_environment(python), age, constraints)
    made.install("packages/core", "packages/export", "packages/wq", cwd=ROOT)
    yield made
    # pytest keeps the folders of its last runs, and each of these takes gigabytes.
    shutil.rmtree(made.environment.folder)


def _oldest(wheels: dict[str, Path]) -> list[str]:
    """``name==1.2.*`` for each ``name>=1.2`` that a package requires without an extra."""
    lines = set()
    for name in PACKAGES:
        with zipfile.ZipFile(wheels[name]) as file:
            (path,) = (path for path in file.namelist() if path.endswith("/METADATA"))
            metadata = file.read(path).decode()
        for line in re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE):
            requirement = Requirement(line)
            lowest = [part.version for part in requirement.specifier if part.operator == ">="]
            if requirement.marker is None and lowest:
                padded = lowest[0] if "." in lowest[0] else f"{lowest[0]}.0"
                lines.add(f"{requirement.name}=={padded}.*")
    return sorted(lines)


def test_weight_quantisation_is_installed_alone(fresh: Fresh, tmp_path: Path) -> None:
    """pip installs graphquant-wq with what it builds on, and nothing of graphquant-qat."""
    program = (
        "import importlib.util as i, tensorflow as tf, graphquant_wq; "
        "print(tf.__version__, i.find_spec('graphquant_qat'), i.find_spec('graphquant_cli')); "
        "graphquant_wq.WeightQuantizer"
    )
    version, *absent = fresh.output("-c", program, cwd=tmp_path).split()
    assert absent == ["None", "None"]
    oldest = version.startswith("2.16.")
    assert oldest == (fresh.age == "oldest"), version


def test_the_extras_fit_beside_tensorflow(fresh: Fresh, tmp_path: Path) -> None:
    """With the newest versions the packages of all targets go together, with the oldest MNN's."""
    extras, program = "mnn", "import MNN"
    if fresh.age == "newest":
        extras, program = "mnn,onnx,litert", f"{program}, onnxruntime, tf2onnx, ai_edge_litert"
    fresh.install(f"{ROOT / 'packages/export'}[{extras}]", cwd=tmp_path)
    fresh.output("-c", program, cwd=tmp_path)


def test_everything_is_installed_and_passes_the_fast_tests(fresh: Fresh, tmp_path: Path) -> None:
    """The rest goes on top, the versions fit together, and what is installed passes its tests."""
    rest = [ROOT / "packages/qat", ROOT / "packages/cli", f"{ROOT / 'packages/core'}[testing]"]
    fresh.install(*rest, "pytest", cwd=tmp_path)
    listed = fresh.environment.run("graphquant", "plugins", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "failed to load" not in listed.stdout
    options = ["-q", "-p", "no:cacheprovider", "--basetemp", tmp_path / "pytest"]
    if fresh.age == "oldest":
        # The examples export to targets whose packages are not installed there.
        options += ["-k", "not an_example_prints"]
    print(fresh.output("-m", "pytest", *options, *FAST_TESTS, cwd=ROOT)[-500:])


def test_an_example_plugin_is_found(fresh: Fresh, wheels: dict[str, Path], tmp_path: Path) -> None:
    """pip takes a third party's wheel against its range of versions, and graphquant lists it."""
    fresh.install(wheels["conv3d"], cwd=tmp_path)
    program = "import graphquant_core as g; print(g.load_registry().handler('Conv3D').name)"
    assert "Conv3D" in fresh.output("-c", program, cwd=tmp_path)
