"""A value of a JSON file that knows where it stands, so that each error can name the place."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import attrs

from graphquant_core.exceptions import ConfigError
from graphquant_core.listing import choices, either
from graphquant_core.suggestions import closest
from graphquant_qat.config.rules import UNSUPPORTED
from graphquant_qat.config.shown import key_path, shown


@attrs.frozen
class JsonNode:
    """A value, its file and the keys that lead to it.

    Attributes:
        value: What `json` made of it; an object is a tuple of (key, value) pairs, so that a
            repeated key is still there.
        file: The argument that named the file and its path, as in ``config_file ("a.json")``.
        keys: Keys from the root of the file to the value.
    """

    value: Any
    file: str
    keys: tuple[str, ...] = ()

    def members(self, allowed: Collection[str] | None = None) -> dict[str, JsonNode]:
        """The members of an object, by key; any key may stand there when `allowed` is ``None``.

        Raises:
            ConfigError: this is no object, or one of its keys is repeated, unknown or about
                something that isn't supported.
        """
        if not isinstance(self.value, tuple):
            raise self.wrong("must be an object, { ... }")
        found: dict[str, JsonNode] = {}
        for key, value in self.value:
            member = JsonNode(value, self.file, (*self.keys, key))
            if key in found:
                raise ConfigError(f"{self.file}: the key {member.path} is given twice")
            if allowed is not None and key not in allowed:
                raise member.unknown(allowed)
            found[key] = member
        return found

    @property
    def path(self) -> str:
        """The keys joined by dots, as in ``conv1/Conv2D.retrain_data_config.clip_max``."""
        return key_path(*self.keys)

    def boolean(self) -> bool:
        """This value, which must be true or false."""
        if isinstance(self.value, bool):
            return self.value
        raise self.wrong("must be true or false")

    def integer(self) -> int:
        """This value, which must be an integer."""
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return self.value
        raise self.wrong("must be an integer")

    def decimal(self) -> float:
        """This value, which must be written with a decimal point or an exponent."""
        if isinstance(self.value, float):
            return self.value
        raise self.wrong("must be a float, such as 3.0")

    def one_of(self, allowed: Collection[str]) -> str:
        """This value, which must be one of the strings in `allowed`."""
        if isinstance(self.value, str) and self.value in allowed:
            return self.value
        hint = closest(self.value, allowed) if isinstance(self.value, str) else ""
        raise self.wrong(f"must be {either(shown(name) for name in allowed)}{hint}")

    def wrong(self, rule: str) -> ConfigError:
        """The error that names the file, the keys, the value in parentheses, then `rule`."""
        return ConfigError(f"{self.file}: {self.path or 'content'} ({shown(self.value)}) {rule}")

    def unknown(self, allowed: Collection[str]) -> ConfigError:
        """The error for a value whose key isn't in `allowed`."""
        if self.keys[-1] in UNSUPPORTED:
            return self.wrong(UNSUPPORTED[self.keys[-1]])
        hint = closest(self.keys[-1], allowed)
        return ConfigError(
            f"{self.file}: unknown key {self.path}{hint} (allowed: {choices(allowed)})"
        )

    def missing(self, key: str) -> ConfigError:
        """The error for an object that lacks `key`."""
        return ConfigError(f"{self.file}: the key {key_path(*self.keys, key)} is missing")


def parse_json(text: str, file: str) -> JsonNode:
    """The root of a JSON text.

    Raises:
        ConfigError: `text` isn't JSON or is nested too deep; names `file` and the place.
    """
    try:
        return JsonNode(json.loads(text, object_pairs_hook=tuple), file)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{file} is not valid JSON: {place}: {error.msg}") from None
    except ValueError:
        raise ConfigError(f"{file} is not valid JSON: a number has too many digits") from None
    except RecursionError:
        raise ConfigError(f"{file} is not valid JSON: it is nested too deep") from None
