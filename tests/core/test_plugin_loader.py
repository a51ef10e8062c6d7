"""Finding and importing plugins, with distributions that are really installed."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from graphquant_core.exceptions import PluginError
from graphquant_core.plugin_loader import PluginFailure, load_plugins
from graphquant_core.registry import load_registry

Install = Callable[..., str]
NUMBERS = itertools.count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution with one module behind one entry point; returns the module."""
    monkeypatch.syspath_prepend(tmp_path)
    load_registry.cache_clear()

    def install_one(plugin: str, distribution: str, source: str = "") -> str:
        module = f"installed_plugin_{next(NUMBERS)}"
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution}-1.5.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n"
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text(f"[graphquant]\n{plugin} = {module}\n")
        return module

    return install_one


@pytest.fixture(autouse=True)
def _fresh_registry() -> object:
    yield
    load_registry.cache_clear()


HANDLER = """
from graphquant_core import hookimpl

class Handler:
    name = "cosine"
    op_types = frozenset({"CosineMatMul"})
    def describe(self, op):
        return None

@hookimpl
def graphquant_layer_handlers():
    return [Handler()]
"""


def test_an_installed_plugin_is_loaded_with_its_origin(install: Install) -> None:
    """A plugin knows its entry-point name, its distribution and the version."""
    module = install("cosine", "cosine_layers")
    plugin = next(plugin for plugin in load_plugins()[0] if plugin.name == "cosine")
    assert plugin.implementation.__name__ == module  # type: ignore[attr-defined]
    assert str(plugin) == '"cosine" of cosine_layers 1.5'


def test_an_installed_handler_reaches_the_registry(install: Install) -> None:
    """load_registry() holds what installed plugins contribute, beside the built-in handlers."""
    install("cosine", "cosine_layers", HANDLER)
    registry = load_registry()
    assert registry.handler("CosineMatMul").name == "cosine"
    assert registry.handler("Conv2D").op_types == {"Conv2D"}
    owner = next(owner for owner in registry.owners if owner.name == "CosineMatMul")
    assert (owner.kind, owner.plugin, owner.distribution) == ("op_type", "cosine", "cosine_layers")
    assert load_registry() is registry


def test_plugins_are_loaded_in_the_order_of_their_names(install: Install) -> None:
    """The order doesn't depend on the order of installation."""
    install("zebra", "first")
    install("aardvark", "second")
    names = [plugin.name for plugin in load_plugins()[0]]
    assert names == sorted(names)
    assert {"aardvark", "zebra", "builtin_handlers"} <= set(names)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_plugin_that_fails_to_import_is_left_out_with_its_reason(
    install: Install, caplog: pytest.LogCaptureFixture, source: str, reason: str
) -> None:
    """The failure is recorded and logged as a warning; every other plugin works."""
    install("broken", "broken_layers", source)
    install("cosine", "cosine_layers", HANDLER)
    with caplog.at_level(logging.WARNING):
        registry = load_registry()
    assert PluginFailure("broken", "broken_layers", "1.5", reason) in registry.failures
    assert f'plugin "broken" of broken_layers 1.5 is left out: {reason}' in caplog.messages
    assert "CosineMatMul" in registry.handlers


def test_one_name_in_two_distributions_is_an_error(install: Install) -> None:
    """The error names both distributions and both modules."""
    modules = [install("cosine", "first_layers"), install("cosine", "second_layers")]
    with pytest.raises(PluginError, match='two plugins are named "cosine"') as caught:
        load_plugins()
    for text in (*modules, "first_layers 1.5", "second_layers 1.5"):
        assert text in str(caught.value)


def test_disabled_plugins_are_not_imported(
    install: Install, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """GRAPHQUANT_DISABLE_PLUGINS leaves names out before import, duplicates included."""
    install("broken", "broken_layers", "1 / 0")
    install("twice", "first_layers", "1 / 0")
    install("twice", "second_layers", "1 / 0")
    monkeypatch.setenv("GRAPHQUANT_DISABLE_PLUGINS", " broken, twice ,,")
    plugins, failures = load_plugins()
    assert {"broken", "twice"}.isdisjoint({plugin.name for plugin in plugins})
    assert {"broken", "twice"}.isdisjoint({failure.plugin for failure in failures})
    assert not any("names no plugin" in message for message in caplog.messages)


def test_disabling_an_unknown_plugin_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A misspelt name leaves nothing out, and a warning says so with the closest name."""
    monkeypatch.setenv("GRAPHQUANT_DISABLE_PLUGINS", "builtin_handler")
    with caplog.at_level(logging.WARNING):
        plugins, _ = load_plugins()
    assert "builtin_handlers" in {plugin.name for plugin in plugins}
    expected = 'names no plugin: "builtin_handler"; did you mean "builtin_handlers"'
    assert any(expected in message for message in caplog.messages)
