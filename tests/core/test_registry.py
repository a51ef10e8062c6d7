"""What plugins contribute, and who owns it."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from graphquant_core import hookimpl
from graphquant_core.exceptions import PluginError, UnknownNameError
from graphquant_core.registry import build_registry

QUANTIZER_KINDS = ["activation_quantizer", "weight_quantizer", "exporter"]


def _handler(name: Any = "mine", op_types: Any = frozenset({"MyOp"})) -> SimpleNamespace:
    return SimpleNamespace(name=name, op_types=op_types, describe=lambda op: op)


def _value(name: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, build=lambda: None, export=lambda: None)


def _plugin(kind: str, answer: Any) -> object:
    """A plugin whose hook for `kind` returns `answer`, or raises it."""

    def hook() -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return SimpleNamespace(**{f"graphquant_{kind}s": hookimpl(hook)})


def test_handlers_are_found_by_op_type() -> None:
    """A handler is registered under each of its op types, and its plugin owns them."""
    mine = _handler(op_types=frozenset({"B", "A"}))
    registry = build_registry([("p", _plugin("layer_handler", [mine]))])
    assert registry.handler("A") is registry.handlers["B"] is mine
    owned = [(owner.kind, owner.name, owner.plugin) for owner in registry.owners]
    assert owned == [
        ("plugin", "p", "p"),
        ("layer_handler", "mine", "p"),
        ("op_type", "A", "p"),
        ("op_type", "B", "p"),
    ]


@pytest.mark.parametrize("kind", QUANTIZER_KINDS)
def test_strategies_and_exporters_are_found_by_name(kind: str) -> None:
    """Each kind has its own names: the same name of another kind is no clash."""
    values = {each: _value("arq") for each in QUANTIZER_KINDS}
    plugins = [(f"{each}_plugin", _plugin(each, iter([values[each]]))) for each in QUANTIZER_KINDS]
    registry = build_registry(plugins)
    assert getattr(registry, kind)("arq") is values[kind]
    assert dict(getattr(registry, f"{kind}s")) == {"arq": values[kind]}


@pytest.mark.parametrize("kind", ["handler", *QUANTIZER_KINDS])
def test_an_unknown_name_lists_what_there_is(kind: str) -> None:
    """The error holds the name, the closest one and all that are registered."""
    hook = "layer_handler" if kind == "handler" else kind
    value = _handler("arq_retrain", {"arq_retrain"}) if kind == "handler" else _value("arq_retrain")
    registry = build_registry([("p", _plugin(hook, [value]))])
    with pytest.raises(
        UnknownNameError, match=r"\"arq_retrian\".*mean \"arq_retrain\"\?.*registered"
    ):
        getattr(registry, kind)("arq_retrian")
    with pytest.raises(UnknownNameError, match="registered: none"):
        getattr(build_registry([]), kind)("x")


def test_a_registry_is_immutable() -> None:
    """Nothing can be added to or replaced in a registry."""
    registry = build_registry([])
    with pytest.raises(TypeError):
        registry.handlers["X"] = _handler()  # type: ignore[index]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        registry.handlers = {}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "first", "second", "claimed"),
    [
        ("layer_handler", _handler("a"), _handler("b"), 'op_type "MyOp"'),
        ("layer_handler", _handler("a"), _handler("a", {"Other"}), 'layer_handler "a"'),
        *[(kind, _value("a"), _value("a"), f'{kind} "a"') for kind in QUANTIZER_KINDS],
    ],
)
def test_two_owners_of_one_name_are_an_error(
    kind: str, first: object, second: object, claimed: str
) -> None:
    """The error names what is claimed and both plugins; nobody overwrites anybody."""
    plugins = [("one", _plugin(kind, [first])), ("two", _plugin(kind, [second]))]
    with pytest.raises(PluginError) as caught:
        build_registry(plugins)
    assert str(caught.value) == (
        f'{claimed} is registered twice: by plugin "one" and by plugin "two"; uninstall one, or '
        "leave one out with GRAPHQUANT_DISABLE_PLUGINS=two"
    )


def test_two_plugins_of_one_name_are_an_error() -> None:
    """Plugin names are unique too."""
    with pytest.raises(PluginError, match='plugin "p" is registered twice'):
        build_registry([("p", SimpleNamespace()), ("p", SimpleNamespace())])


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (_plugin("layer_handler", [_handler(op_types=frozenset())]), r"op_types \(frozenset\(\)\)"),
        (_plugin("layer_handler", [_handler(op_types="Conv2D")]), r"op_types \('Conv2D'\)"),
        (_plugin("layer_handler", [_handler(op_types={""})]), r"op_types \(\{''\}\)"),
        (_plugin("layer_handler", [_handler(op_types=None)]), r"op_types \(None\)"),
        (_plugin("layer_handler", [_handler(name="")]), r"the name \(''\) of layer_handler"),
        (
            _plugin("layer_handler", [SimpleNamespace(name="a", op_types={"A"})]),
            'layer_handler "a" has no method describe',
        ),
        (_plugin("exporter", [SimpleNamespace(name="a")]), 'exporter "a" has no method export'),
        (_plugin("weight_quantizer", [_handler("a")]), 'weight_quantizer "a" has no method build'),
        (_plugin("exporter", [object()]), r"the name \(None\) of exporter"),
        (_plugin("weight_quantizer", 3), "graphquant_weight_quantizers returned 3, a list is"),
        (_plugin("weight_quantizer", "arq"), "returned 'arq', a list is expected"),
        (_plugin("layer_handlr", []), "unknown hook 'graphquant_layer_handlrs'"),
        (
            SimpleNamespace(graphquant_commands=hookimpl(lambda application: application)),
            "application",
        ),
    ],
)
def test_a_plugin_that_breaks_its_contract_is_named(plugin: object, message: str) -> None:
    """A wrong answer, name, op type, hook name or argument: PluginError with the plugin's name."""
    with pytest.raises(PluginError, match=message) as caught:
        build_registry([("faulty", plugin)])
    assert 'plugin "faulty" breaks its contract' in str(caught.value)


def test_a_hook_that_raises_leaves_its_plugin_out_whole(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of that plugin is registered, the reason is kept, and the others work."""
    half = SimpleNamespace(
        **vars(_plugin("exporter", [_value("half")])),
        **vars(_plugin("layer_handler", KeyError("missing"))),
    )
    with caplog.at_level(logging.WARNING):
        registry = build_registry([("half", half), ("p", _plugin("layer_handler", [_handler()]))])
    assert [failure.plugin for failure in registry.failures] == ["half"]
    assert registry.failures[0].reason == "KeyError: 'missing'"
    assert not registry.exporters
    assert {owner.plugin for owner in registry.owners} == {"p"}
    assert 'plugin "half" is left out' in caplog.text


def test_the_functions_that_add_commands_are_kept_with_their_plugins() -> None:
    """A plugin with that hook is listed, one without it is not; nothing is called yet."""

    @hookimpl
    def graphquant_commands(app: list[str]) -> None:
        app.append("quantise")

    plugins = [("b", SimpleNamespace(graphquant_commands=graphquant_commands))]
    registry = build_registry([*plugins, ("a", SimpleNamespace())])
    app: list[str] = []
    ((plugin, add),) = registry.commands
    assert (plugin.name, app) == ("b", [])
    add(app=app)
    assert app == ["quantise"]


def test_the_registry_starts_without_tensorflow() -> None:
    """`import graphquant_core` and loading every built-in handler leave TensorFlow out."""
    code = (
        "import sys, graphquant_core\n"
        "handlers = graphquant_core.load_registry().handlers\n"
        "assert 'Conv2D' in handlers, handlers\n"
        "assert 'tensorflow' not in sys.modules\n"
        "assert 'hypothesis' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_builtin_handlers_can_be_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in handlers are a plugin like any other."""
    monkeypatch.setenv("GRAPHQUANT_DISABLE_PLUGINS", "builtin_handlers")
    code = "import graphquant_core as g; assert 'Conv2D' not in g.load_registry().handlers"
    subprocess.run([sys.executable, "-c", code], check=True)
