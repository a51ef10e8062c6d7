"""What the six packages promise together."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]

SIBLINGS = {
    "core": set(),
    "export": {"core"},
    "qat": {"core", "export"},
    "wq": {"core", "export"},
    "tune": {"core", "export", "qat", "wq"},
    "cli": {"core", "export", "qat", "wq", "tune"},
}


def _project(package: str) -> dict[str, Any]:
    text = (ROOT / "packages" / package / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


def _requirements(package: str) -> list[Requirement]:
    project = _project(package)
    extras = project.get("optional-dependencies", {}).values()
    return [Requirement(line) for group in (project["dependencies"], *extras) for line in group]


def _lines(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def test_packages_are_the_known_ones() -> None:
    """The table of siblings above lists every folder of packages/."""
    found = {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")}
    assert found == set(SIBLINGS)


@pytest.mark.parametrize("package", SIBLINGS)
def test_siblings_are_pinned_to_the_common_version(package: str) -> None:
    """A package requires exactly the siblings below it, each in the version of its own."""
    pins = {
        requirement.name: str(requirement.specifier)
        for requirement in _requirements(package)
        if requirement.name.startswith("graphquant-")
    }
    version = _project("core")["version"]
    assert _project(package)["version"] == version
    assert pins == {f"graphquant-{sibling}": f"=={version}" for sibling in SIBLINGS[package]}


@pytest.mark.parametrize("package", SIBLINGS)
def test_package_is_complete(package: str) -> None:
    """A package has the licence's full text, a readme, and the marker of typed packages."""
    folder = ROOT / "packages" / package
    licence = (folder / "LICENSE").read_text(encoding="utf-8")
    assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# graphquant-{package}")
    assert (folder / "src" / f"graphquant_{package}" / "py.typed").is_file()


@pytest.mark.parametrize("package", SIBLINGS)
def test_entry_points_name_modules_of_the_package(package: str) -> None:
    """An entry point names a module that the same package ships."""
    source = ROOT / "packages" / package / "src"
    for module in _project(package).get("entry-points", {}).get("graphquant", {}).values():
        path = source / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), module


def test_every_direct_requirement_is_pinned_within_its_range() -> None:
    """constraints.txt pins what the packages and the tools require, and nothing else."""
    pins = {canonicalize_name(pin.name): str(pin.specifier) for pin in _lines("constraints.txt")}
    wanted = _lines("requirements-dev.txt") + [
        requirement
        for package in SIBLINGS
        for requirement in _requirements(package)
        if not requirement.name.startswith("graphquant-")
    ]
    assert set(pins) == {canonicalize_name(requirement.name) for requirement in wanted}
    for requirement in wanted:
        pin = pins[canonicalize_name(requirement.name)]
        assert pin.startswith("==")
        assert requirement.specifier.contains(pin.removeprefix("=="))
