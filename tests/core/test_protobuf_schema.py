"""Message classes from a description."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from graphquant_core.protobuf_schema import Enum, Field, Message, build_messages, field_names

CLASSES = build_messages(
    "shop",
    Enum("Colour", {"RED": 0, "BLUE": 2}),
    Message(
        "Item",
        Field("name", 1, "string", required=True),
        Field("count", 2, "uint32", default="1"),
        Field("colour", 3, "Colour", default="BLUE"),
        Field("gift", 4, "bool", oneof="wrapping"),
        Field("paper", 5, "string", oneof="wrapping"),
    ),
    Message("Order", Field("item", 1, "Item", repeated=True), Field("price", 2, "float")),
)


def test_text_is_parsed_into_nested_messages() -> None:
    """Nested messages, enums, repeated fields and defaults follow proto2."""
    text = 'price: 1.5 item { name: "a" colour: RED } item { name: "b" count: 3 }'
    order = text_format.Parse(text, CLASSES["Order"]())
    assert [item.name for item in order.item] == ["a", "b"]
    assert [item.count for item in order.item] == [1, 3]
    assert [item.colour for item in order.item] == [0, 2]
    assert [item.HasField("count") for item in order.item] == [False, True]
    assert order.price == 1.5
    assert CLASSES["Order"].FromString(order.SerializeToString()) == order


def test_one_field_of_a_group_is_set() -> None:
    """Setting a field of a oneof clears the other."""
    item = CLASSES["Item"](name="a", gift=True)
    item.paper = "brown"
    assert item.WhichOneof("wrapping") == "paper"
    assert not item.HasField("gift")


@pytest.mark.parametrize("text", ["item { count: 1 }", "prise: 1", "item { colour: GREEN }"])
def test_what_the_schema_does_not_allow_is_refused(text: str) -> None:
    """A missing required field, an unknown field and an unknown enum value don't parse."""
    with pytest.raises((text_format.ParseError, ValueError)):
        message = text_format.Parse(text, CLASSES["Order"]())
        if not message.IsInitialized():
            raise ValueError("a required field is missing")


def test_the_same_package_can_be_described_twice() -> None:
    """Each description has a pool of its own, so that equal names don't clash."""
    other = build_messages("shop", Message("Item", Field("size", 1, "int64")))
    assert field_names(other["Item"]) == ["size"]
    assert field_names(CLASSES["Item"])[:2] == ["name", "count"]


def test_an_unknown_type_is_refused() -> None:
    """A field whose type is nowhere described is a KeyError."""
    with pytest.raises(KeyError, match="Missing"):
        build_messages("shop", Message("Item", Field("size", 1, "Missing")))
