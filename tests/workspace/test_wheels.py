"""What the wheels and source distributions of the packages hold."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FOLDERS = [
    *(ROOT / "packages" / name for name in ("core", "export", "qat", "wq", "cli")),
    *(ROOT / "examples" / "plugins" / name for name in ("conv3d", "power_of_two", "npz", "count")),
]
OURS = FOLDERS[:5]

per_package = pytest.mark.parametrize("folder", OURS, ids=lambda folder: folder.name)
per_project = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def _files(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as file:
        return {name: file.read(name) for name in file.namelist()}


def _metadata(wheel: Path) -> Message:
    (text,) = (data for name, data in _files(wheel).items() if name.endswith("/METADATA"))
    return Parser().parsestr(text.decode())


@per_project
def test_a_wheel_holds_every_module_and_nothing_else(folder: Path, wheels: dict[str, Path]) -> None:
    """Below the import name it holds the files of src/, py.typed among them, and no tests."""
    files = _files(wheels[folder.name])
    source = folder / "src"
    expected = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {name: data for name, data in files.items() if ".dist-info/" not in name} == expected
    assert [name for name in expected if name.endswith("/py.typed")]
    assert not [name for name in expected if "/tests/" in name or "/test_" in name]


@per_package
def test_a_wheel_carries_its_licence_and_its_readme(folder: Path, wheels: dict[str, Path]) -> None:
    """The licence is a file of the wheel, the readme is the description."""
    wheel = wheels[folder.name]
    (licence,) = (data for name, data in _files(wheel).items() if name.endswith("/LICENSE"))
    assert licence == (ROOT / "LICENSE").read_bytes()
    metadata = _metadata(wheel)
    assert metadata["Description-Content-Type"] == "text/markdown"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert metadata.get_payload().strip() == readme.strip()


@per_package
def test_the_metadata_is_complete(folder: Path, wheels: dict[str, Path]) -> None:
    """Name, summary, licence, Python range, keywords, classifiers of every Python, and `Typed`."""
    metadata = _metadata(wheels[folder.name])
    assert metadata["Name"] == f"graphquant-{folder.name}"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.10"
    assert len(metadata["Summary"]) > 20
    assert "tensorflow" in metadata["Keywords"]
    classifiers = metadata.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)} <= set(
        classifiers
    )


@per_project
def test_requirements_are_ranges_of_released_packages(
    folder: Path, wheels: dict[str, Path]
) -> None:
    """No requirement is a URL, and every one has a lower bound."""
    for line in _metadata(wheels[folder.name]).get_all("Requires-Dist", []):
        requirement = Requirement(line)
        assert requirement.url is None
        assert {part.operator for part in requirement.specifier} & {">=", "=="}, line


@per_project
def test_plugins_of_third_parties_take_a_range_of_versions(
    folder: Path, wheels: dict[str, Path]
) -> None:
    """Packages of one release require each other exactly; plugins of others take the next ones."""
    for line in _metadata(wheels[folder.name]).get_all("Requires-Dist", []):
        requirement = Requirement(line)
        if requirement.name.startswith("graphquant-"):
            operators = {part.operator for part in requirement.specifier}
            assert operators == ({"=="} if folder in OURS else {">=", "<"}), line


@per_package
def test_a_wheel_built_from_the_source_distribution_is_the_same(
    folder: Path, wheels: dict[str, Path], build: Callable[..., Path], tmp_path: Path
) -> None:
    """The source distribution lacks nothing: the wheel that it gives has the same files."""
    archive = build(folder, tmp_path / "sdist", "sdist")
    with tarfile.open(archive) as file:
        names = file.getnames()
        file.extractall(tmp_path / "source", filter="data")
    assert not [name for name in names if "/tests/" in name or name.endswith(".pyc")]
    (unpacked,) = (tmp_path / "source").iterdir()
    rebuilt = build(unpacked, tmp_path / "wheel")
    assert _files(rebuilt) == _files(wheels[folder.name])
