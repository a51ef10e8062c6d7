"""From the text of a retrain definition to its message."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import text_format

from graphquant_core.exceptions import ConfigError
from graphquant_core.listing import choices, short
from graphquant_core.suggestions import closest
from graphquant_qat.config.rules import DST_TYPE, UNSUPPORTED, batch_num_refusal
from graphquant_qat.config.text_place import value_at
from graphquant_qat.config.text_schema import FIELDS_OF_MESSAGE, AMCTRetrainConfig

_POSITION = re.compile(r"^\d+:\d+ : ")
_PACKAGE = f"{AMCTRetrainConfig.DESCRIPTOR.file.package}."
_UNKNOWN_FIELD = re.compile(r'Message type "([^"]*)" has no field named "([^"]*)"')
_UNKNOWN_TYPE = re.compile(r'Enum type "DataType" has no value (?:named|with number) (\S+)\.$')
_OUT_OF_RANGE = "is out of range"
_RULES = {
    "Couldn't parse float": "must be a number",
    "Couldn't parse integer": "must be an integer",
    "Expected string": "must be a text in quotes",
    'Expected "true" or "false"': "must be true or false",
    "Value out of range": _OUT_OF_RANGE,
}
"""What a value must be, by the start of what protobuf says."""

_OVERRIDES = ("override_layer_configs", "override_layer_types")


def parse_message(text: str, file: str) -> Any:
    """The message that `text` writes in protobuf's text format.

    Raises:
        ConfigError: a field is unknown, given twice, missing or about something that isn't
            supported, or the text isn't of that format; names `file` and the line or the field.
    """
    message = AMCTRetrainConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ConfigError(f"{file}{_place(error)}: {_sentence(error, text)}") from None
    missing = message.FindInitializationErrors()
    if missing:
        raise ConfigError(f"{file}: {missing[0]} is missing")
    _refuse_unsupported(message, file)
    return message


def _refuse_unsupported(message: Any, file: str, path: str = "") -> None:
    for field, value in message.ListFields():
        if field.name in UNSUPPORTED:
            raise ConfigError(f"{file}: {path}{field.name} {UNSUPPORTED[field.name]}")
        if field.name in _OVERRIDES:
            for index, override in enumerate(value):
                _refuse_unsupported(override, file, f"{field.name}[{index}].")


def _place(error: text_format.ParseError) -> str:
    line = error.GetLine()
    return "" if line is None else f", line {line}"


def _sentence(error: text_format.ParseError, text: str) -> str:
    """The field, its value and what is allowed; for an unknown name, what is known.

    Else protobuf's words, without the position and the line.
    """
    words = _POSITION.sub("", str(error)).rpartition("': ")[2].replace(_PACKAGE, "")
    unknown = _UNKNOWN_FIELD.match(words)
    if unknown is not None:
        message, name = unknown.groups()
        known = [field for field in FIELDS_OF_MESSAGE[message] if field not in UNSUPPORTED]
        hint = closest(name, known)
        return f"{message} has no field {short(name)}{hint} (allowed: {choices(known)})"
    data_type = _UNKNOWN_TYPE.match(words)
    if data_type is not None:
        return f"dst_type ({short(data_type[1])}) must be {DST_TYPE}"
    rule = next((rule for start, rule in _RULES.items() if words.startswith(start)), None)
    line, column = error.GetLine(), error.GetColumn()
    found = None if line is None or column is None else value_at(text, line, column)
    if rule is None or found is None:
        return short(words)
    path, value = found
    if path == "batch_num" and rule == _OUT_OF_RANGE:
        rule = batch_num_refusal(0)
    return f"{path} ({short(value)}) {rule}"
