"""The plugins in examples/plugins, installed from their wheels, do what third parties need."""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphquant_core import hookspecs
from graphquant_core.exporter import EndingsExporter, ExportSource

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "scripts"
EXAMPLES = ROOT / "examples" / "plugins"
PAGE = ROOT / "docs" / "writing-a-plugin.md"
# A fenced block behind a line that names the file it shows.
SHOWN = re.compile(r"^`(examples/plugins/[^`]+)`:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def installed(environment: Callable[..., Any]) -> Any:
    """An environment with every package and every example plugin."""
    packages = ("core", "export", "qat", "wq", "cli")
    return environment(*packages, "conv3d", "power_of_two", "npz", "count")


@pytest.fixture(scope="module")
def video(installed: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What scripts/video_network.py reports, and the folder that it worked in."""
    return _report(installed, "video_network.py", tmp_path_factory.mktemp("video"))


def _report(installed: Any, script: str, folder: Path) -> dict[str, Any]:
    done = installed.run("python", SCRIPTS / script, cwd=folder)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report | {"folder": folder}


def _plugins(installed: Any, folder: Path, **variables: str) -> dict[str, Any]:
    done = installed.run("graphquant", "plugins", "--json", cwd=folder, **variables)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def _distribution(folder: Path, name: str, module: str) -> None:
    """Puts a distribution with the plugin `name` on the path `folder`."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}_plugin.py").write_text(module)
    info = folder / f"graphquant_{name}-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: graphquant-{name}\nVersion: 2.5\n"
    )
    (info / "entry_points.txt").write_text(f"[graphquant]\n{name} = {name}_plugin\n")


def test_plugins_are_listed_with_what_they_add_and_who_installed_them(
    installed: Any, tmp_path: Path
) -> None:
    """`graphquant plugins` names kind, name, plugin, distribution and version of each."""
    content = _plugins(installed, tmp_path)
    rows = {tuple(owner.values()) for owner in content["owners"]}
    assert {
        ("op_type", "Conv3D", "conv3d", "graphquant-conv3d", "0.1.0"),
        ("weight_quantizer", "power_of_two", "power_of_two", "graphquant-power-of-two", "0.1.0"),
        ("exporter", "npz", "npz", "graphquant-npz", "0.1.0"),
        ("command", "count", "count", "graphquant-count", "0.1.0"),
    } <= rows
    assert content["failures"] == []


def test_a_plugin_that_is_broken_is_listed_with_its_version_and_the_reason(
    installed: Any, tmp_path: Path
) -> None:
    """The other plugins work on, and stderr warns of the one that doesn't."""
    _distribution(tmp_path / "path", "broken", "from graphquant_core import no_such_name\n")
    path = str(tmp_path / "path")
    (failure,) = _plugins(installed, tmp_path, PYTHONPATH=path)["failures"]
    assert (failure["plugin"], failure["distribution"], failure["version"]) == (
        "broken",
        "graphquant-broken",
        "2.5",
    )
    assert failure["reason"].startswith("ImportError: cannot import name 'no_such_name'")
    done = installed.run("graphquant", "plugins", cwd=tmp_path, PYTHONPATH=path)
    assert "graphquant-broken 2.5" in done.stdout
    assert 'plugin "broken" of graphquant-broken 2.5 is left out: ImportError' in done.stderr
    assert " Conv3D " in done.stdout


def test_two_plugins_for_one_op_type_are_an_error_that_one_variable_resolves(
    installed: Any, tmp_path: Path
) -> None:
    """The message names both and the variable; with it the other plugin owns the op type."""
    module = (EXAMPLES / "conv3d/src/graphquant_conv3d/__init__.py").read_text()
    module = module.replace('name = "Conv3D"', 'name = "mine"')
    _distribution(tmp_path / "path", "other", module)
    variables = {"PYTHONPATH": str(tmp_path / "path")}
    done = installed.run("graphquant", "plugins", cwd=tmp_path, **variables)
    assert done.returncode == 2
    assert 'op_type "Conv3D" is registered twice' in done.stderr
    assert '"conv3d" of graphquant-conv3d 0.1.0' in done.stderr
    assert '"other" of graphquant-other 2.5' in done.stderr
    assert "GRAPHQUANT_DISABLE_PLUGINS=other" in done.stderr
    variables["GRAPHQUANT_DISABLE_PLUGINS"] = "conv3d"
    owners = _plugins(installed, tmp_path, **variables)["owners"]
    assert [row["plugin"] for row in owners if row["name"] == "Conv3D"] == ["other"]


def test_an_authors_own_test_of_a_handler_passes(installed: Any, tmp_path: Path) -> None:
    """The test that the example ships runs check_handler against the installed wheels."""
    test = EXAMPLES / "conv3d" / "tests" / "test_conv3d.py"
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", tmp_path]
    done = installed.run("python", "-m", "pytest", *options, test, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_a_third_party_layer_is_planned_and_trained(video: dict[str, Any]) -> None:
    """Both 3-D convolutions are layers with their channels, and the network learns."""
    assert video["plan"] == [
        ["block0/conv", "Conv3D", 6],
        ["block1/conv", "Conv3D", 8],
        ["dense/MatMul", "MatMul", 2],
    ]
    assert video["losses"][-1] < video["losses"][0] / 2
    assert video["right"] > 0.95


def test_a_third_party_layer_is_deployed_as_what_was_simulated(video: dict[str, Any]) -> None:
    """The graph of integers, in exact sums, computes what training simulated, and has no float."""
    counts = {op: video["ops"].count(op) for op in set(video["ops"])}
    assert counts["Conv3D"] == 2
    assert counts["AscendQuant"] == counts["AscendWeightQuant"] == counts["AscendDequant"] == 3
    assert video["error"] < 1e-4


def test_a_third_party_strategy_trains_the_weights(video: dict[str, Any]) -> None:
    """Scales in the record are powers of two, but where a batch norm is folded into them."""
    scales = video["record"]
    assert [len(values) for values in scales.values()] == [6, 8, 1]
    for name in ("block1/conv", "dense/MatMul"):
        assert all(math.frexp(scale)[0] == 0.5 for scale in scales[name])
    assert any(math.frexp(scale)[0] != 0.5 for scale in scales["block0/conv"])
    assert video["largest_codes"] == [127, 127, 127]


def test_a_third_party_target_is_exported_and_verified(video: dict[str, Any]) -> None:
    """It agrees with the simulation in every layer; halved codes are found in their layer."""
    assert video["npz_problems"] == []
    assert video["npz_agrees"]
    assert set(video["npz_layers"].values()) == {"int8"}
    assert video["npz_changed"] == "block1/conv"


def test_a_third_party_target_states_rules_and_is_exact(video: dict[str, Any]) -> None:
    """It rounds the results that its rules name, from the completed record, and nothing else."""
    assert video["npz_values"]
    assert max(video["npz_own"]) < 1e-3


def test_a_third_party_command_runs(installed: Any, video: dict[str, Any]) -> None:
    """`graphquant count` prints the weights of each layer: 3 * 3 * 3 * 2 * 6 for the first."""
    done = installed.run("graphquant", "count", "frozen.pb", cwd=video["folder"])
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines == [
        ["324", "Conv3D", "block0/conv"],
        ["1,296", "Conv3D", "block1/conv"],
        ["16", "MatMul", "dense/MatMul"],
        ["1,636", "weights:", "6,544", "bytes", "as", "float32,", "1,636", "as", "int8"],
    ]


def test_mnn_finds_the_grid_of_a_third_party_strategy(installed: Any, tmp_path: Path) -> None:
    """Power-of-two scales survive training, stripping and MNN's own converter, to the last bit."""
    pytest.importorskip("MNN", reason="needs the wheel MNN")
    report = _report(installed, "power_of_two_weights.py", tmp_path)
    assert report["losses"][-1] < report["losses"][0]
    assert report["same"] == 0
    assert report["steps_off"] == [0, 0, 0]
    assert [len(scales) for scales in report["scales"]] == [8, 1, 2]
    assert all(math.frexp(scale)[0] == 0.5 for scales in report["scales"] for scale in scales)
    assert report["converted"] > 0


def test_the_example_target_names_every_file_that_it_writes(monkeypatch: Any) -> None:
    """So that none of them takes the place of samples: the command line asks for the endings."""
    monkeypatch.syspath_prepend(str(EXAMPLES / "npz" / "src"))
    exporter = importlib.import_module("graphquant_npz").NpzExporter()
    assert isinstance(exporter, EndingsExporter)
    source = ExportSource(None, (), None)
    written = [str(path) for path in exporter.open("model", source).paths]
    assert written == [f"model{ending}" for ending in exporter.endings]


def test_the_page_for_authors_shows_the_files_that_are_tested() -> None:
    """Each block behind the name of a file is that file, and each plugin's module is shown."""
    page = PAGE.read_text(encoding="utf-8")
    shown = dict(SHOWN.findall(page))
    for name, text in shown.items():
        assert text == (ROOT / name).read_text(encoding="utf-8"), name
    modules = {path.relative_to(ROOT).as_posix() for path in EXAMPLES.glob("*/src/*/__init__.py")}
    assert modules <= shown.keys()
    assert page.count("```python") + page.count("```toml") == len(shown)


def test_the_page_for_authors_names_every_hook_and_contract() -> None:
    """Each hook of graphquant is in its table, and each contract named there exists."""
    page = PAGE.read_text(encoding="utf-8")
    hooks = [name for name in vars(hookspecs) if name.startswith("graphquant_")]
    assert len(hooks) == 5
    for hook in hooks:
        assert f"`{hook}(" in page
    for contract in re.findall(r"\| `(graphquant_core\.[\w.]+)` \|", page):
        module, _, name = contract.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
