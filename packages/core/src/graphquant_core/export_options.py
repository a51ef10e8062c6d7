"""Options of an export target: keywords of its `export`, and text on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from graphquant_core.exceptions import ConfigError
from graphquant_core.listing import choices, either
from graphquant_core.suggestions import closest

OptionValue = bool | int | str

_FLAGS = {"true": True, "false": False}


@attrs.frozen
class ExportOption:
    """One keyword that an exporter's `export` takes besides those of every exporter.

    Attributes:
        name: Name of the keyword.
        kind: Type of its value: bool, int or str.
        help: What it is for, a sentence.
        choices: The values that a str may have; ``()`` for any.
    """

    name: str
    kind: type[bool] | type[int] | type[str]
    help: str
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What its value may be, for messages."""
        if self.kind is bool:
            return "true or false"
        if self.kind is int:
            return "an integer"
        return either((f'"{choice}"' for choice in self.choices), nothing="a text")

    def parse(self, text: str) -> OptionValue:
        """The value that `text` means.

        Raises:
            ConfigError: It means none; says what is allowed.
        """
        if self.kind is bool and text in _FLAGS:
            return _FLAGS[text]
        if self.kind is int and text.removeprefix("-").isdecimal():
            return int(text)
        if self.kind is str and (not self.choices or text in self.choices):
            return text
        raise ConfigError(f'option {self.name} ("{text}") must be {self.allowed}')


def check_option_names(
    target: str, known: Sequence[ExportOption], given: Iterable[str]
) -> Mapping[str, ExportOption]:
    """The options in `known` by name, when `given` names no other.

    Raises:
        ConfigError: The target has no option of that name; lists those it has.
    """
    by_name = {option.name: option for option in known}
    for name in given:
        if name not in by_name:
            raise ConfigError(
                f'the target "{target}" has no option "{name}"{closest(name, by_name)}; it has '
                f"{choices(by_name)}"
            )
    return by_name


def parse_options(
    target: str, known: Sequence[ExportOption], given: Iterable[str]
) -> dict[str, OptionValue]:
    """The keywords that ``NAME=VALUE`` texts mean.

    Args:
        target: Name of the exporter.
        known: Its options.
        given: The texts.

    Raises:
        ConfigError: A text is no ``NAME=VALUE``, names an option twice or one that there isn't, or
            gives it a value that it can't have.
    """
    found: dict[str, OptionValue] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f'option ("{text}") must be NAME=VALUE')
        option = check_option_names(target, known, [name])[name]
        if name in found:
            raise ConfigError(f'option {name} ("{value}") is given twice')
        found[name] = option.parse(value)
    return found
