"""Which field of a retrain definition a place in its text belongs to."""

from __future__ import annotations

from google.protobuf import text_format

_OPENING, _CLOSING = ("{", "<"), ("}", ">")


def value_at(text: str, line: int, column: int) -> tuple[str, str] | None:
    """(path, value): the field whose value stands at `line` and `column`, and that value.

    A path is ``retrain_data_quant_config.ulq_quantize.fixed_min``; ``None`` when no field's value
    stands there. Both numbers count from 1, as those of protobuf's errors.
    """
    tokens = text_format.Tokenizer(text.split("\n"))
    outer: list[str] = []
    field, before = "", ""
    while not tokens.AtEnd():
        here = tokens.ParseError("")
        token = tokens.token
        reached = (here.GetLine(), here.GetColumn()) >= (line, column)
        if reached and field and token != ":":
            return ".".join([*outer, field]), token
        if token in _OPENING:
            outer.append(field if before == ":" else before)
            field = ""
        elif token in _CLOSING:
            del outer[-1:]
            field = ""
        elif token == ":":
            field = before
        before = token
        tokens.NextToken()
    return None
