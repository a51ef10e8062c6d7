"""What a part of graphquant can do when the rest of it is not installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent / "scripts"
EXTRAS = ("mnn", "_mnn", "_tools.", "onnx", "tf2onnx", "ai_edge_litert", "hypothesis")


@pytest.fixture(scope="module")
def weight_only(environment: Callable[..., Any]) -> Any:
    """Weight quantisation and the command line: no graphquant-qat, and no package of an extra."""
    return environment("core", "export", "wq", "cli", without=EXTRAS)


@pytest.fixture(scope="module")
def training_only(environment: Callable[..., Any]) -> Any:
    """Quantisation-aware training and the command line: no graphquant-wq."""
    return environment("core", "export", "qat", "cli", without=EXTRAS)


@pytest.fixture(scope="module")
def without_extras(
    weight_only: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, str]]:
    """What scripts/without_extras.py reports."""
    folder = tmp_path_factory.mktemp("without_extras")
    done = weight_only.run("python", SCRIPTS / "without_extras.py", cwd=folder)
    assert done.returncode == 0, done.stderr
    report: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return report


def _owners(environment: Any, folder: Path) -> set[str]:
    done = environment.run("graphquant", "plugins", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["failures"] == []
    return {owner["distribution"] for owner in content["owners"]}


def test_the_command_line_runs_without_a_sibling(
    weight_only: Any, training_only: Any, tmp_path: Path
) -> None:
    """`graphquant plugins` lists what there is; nothing is broken and nothing is made up."""
    both = {"graphquant-core", "graphquant-export"}
    assert _owners(weight_only, tmp_path) == both | {"graphquant-wq"}
    assert _owners(training_only, tmp_path) == both | {"graphquant-qat"}
    for environment in (weight_only, training_only):
        assert environment.run("graphquant", "--help", cwd=tmp_path).returncode == 0


def test_a_command_names_the_package_that_it_needs(weight_only: Any, tmp_path: Path) -> None:
    """`graphquant config` without graphquant-qat is one line that says what to install."""
    done = weight_only.run("graphquant", "config", "write", "m.pb", "c.json", cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install ./packages/qat" in done.stderr
    assert "Traceback" not in done.stderr


def test_training_is_there_without_weight_quantisation(training_only: Any, tmp_path: Path) -> None:
    """`import graphquant_qat` works, and graphquant_wq is really absent."""
    program = (
        "import importlib.util as i, graphquant_qat as amct; "
        "print(amct.__version__, i.find_spec('graphquant_wq'))"
    )
    done = training_only.run("python", "-c", program, cwd=tmp_path)
    assert done.stdout.split()[1:] == ["None"], done.stderr


@pytest.mark.parametrize("target", ["mnn", "onnx", "litert"])
def test_a_target_names_the_extra_that_it_needs(
    without_extras: dict[str, dict[str, str]], target: str
) -> None:
    """Exporting or running without the target's package is an error with the extra to install."""
    found = without_extras["targets"][target]
    assert found.startswith("MissingDependencyError: ")
    assert f'pip install "graphquant-export[{target}]"' in found


def test_what_needs_no_extra_works_without_them(without_extras: dict[str, dict[str, str]]) -> None:
    """Weights are quantised, and a graph for Ascend is exported and run; training is absent."""
    assert without_extras["targets"]["ascend"] == "runs"
    assert without_extras["modules"]["graphquant_qat"].startswith("ModuleNotFoundError")


def test_the_tools_for_plugin_authors_name_their_extra(
    without_extras: dict[str, dict[str, str]],
) -> None:
    """graphquant_core.testing without hypothesis says what to install."""
    found = without_extras["modules"]["graphquant_core.testing"]
    assert found.startswith("MissingDependencyError: ")
    assert "pip install" in found
    assert "graphquant-core[testing]" in found
