"""Protobuf message classes from a short description, without protoc and without generated code.

.. code-block:: python

    point = Message("Point", Field("x", 1, "float", required=True), Field("y", 2, "float"))
    Point = build_messages("geometry", point)["Point"]

Fields follow proto2: a scalar knows whether it was set, and may have a default.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Proto = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Proto.TYPE_BOOL,
    "bytes": _Proto.TYPE_BYTES,
    "double": _Proto.TYPE_DOUBLE,
    "float": _Proto.TYPE_FLOAT,
    "int32": _Proto.TYPE_INT32,
    "int64": _Proto.TYPE_INT64,
    "string": _Proto.TYPE_STRING,
    "uint32": _Proto.TYPE_UINT32,
    "uint64": _Proto.TYPE_UINT64,
}


@attrs.frozen
class Field:
    """One field of a message; optional unless it says otherwise.

    Attributes:
        name: Name, as text files write it.
        number: Number on the wire.
        type: Scalar type such as ``"float"``, or the name of a message or enum of the package.
        repeated: Whether it holds any number of values.
        required: Whether a message without it is incomplete.
        default: Value that an unset field reads as, as proto text writes it: ``"1"``, ``"INT8"``.
        oneof: Name of the group of fields of which at most one is set.
    """

    name: str
    number: int
    type: str
    repeated: bool = attrs.field(default=False, kw_only=True)
    required: bool = attrs.field(default=False, kw_only=True)
    default: str | None = attrs.field(default=None, kw_only=True)
    oneof: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen(init=False)
class Message:
    """A message type: its name and its fields."""

    name: str
    fields: tuple[Field, ...]

    def __init__(self, name: str, *fields: Field) -> None:
        """A message called `name` with `fields`, in the order in which text lists them."""
        self.__attrs_init__(name, fields)


@attrs.frozen
class Enum:
    """An enum type: its name, and the number of each value."""

    name: str
    values: dict[str, int]


def build_messages(package: str, *types: Message | Enum) -> dict[str, type[Any]]:
    """A protobuf class for each message among `types`, by name.

    The classes live in a descriptor pool of their own, so that they never meet generated classes
    of the same package in the same process.

    Raises:
        KeyError: A field has a type that is neither a scalar nor among `types`.
        TypeError: Protobuf refuses the description, such as a number that is used twice.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto", package=package, syntax="proto2"
    )
    kinds: dict[str, int] = dict(_SCALARS)
    for item in types:
        kinds[item.name] = _Proto.TYPE_ENUM if isinstance(item, Enum) else _Proto.TYPE_MESSAGE
    for item in types:
        if isinstance(item, Enum):
            enum = file.enum_type.add(name=item.name)
            for name, number in item.values.items():
                enum.value.add(name=name, number=number)
        else:
            _add_message(file, item, kinds)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    names = [item.name for item in types if isinstance(item, Message)]
    return {name: _class_of(pool, f"{package}.{name}") for name in names}


def _add_message(
    file: descriptor_pb2.FileDescriptorProto, message: Message, kinds: dict[str, int]
) -> None:
    proto = file.message_type.add(name=message.name)
    groups: list[str] = []
    for field in message.fields:
        added = proto.field.add(name=field.name, number=field.number, type=kinds[field.type])
        added.label = _label(field)
        if field.type not in _SCALARS:
            added.type_name = f".{file.package}.{field.type}"
        if field.default is not None:
            added.default_value = field.default
        if field.oneof is not None:
            added.oneof_index = _index_of(groups, field.oneof)
    for group in groups:
        proto.oneof_decl.add(name=group)


def _label(field: Field) -> int:
    if field.repeated:
        return int(_Proto.LABEL_REPEATED)
    return int(_Proto.LABEL_REQUIRED if field.required else _Proto.LABEL_OPTIONAL)


def _index_of(groups: list[str], name: str) -> int:
    if name not in groups:
        groups.append(name)
    return groups.index(name)


def _class_of(pool: descriptor_pool.DescriptorPool, full_name: str) -> type[Any]:
    descriptor = pool.FindMessageTypeByName(full_name)
    if hasattr(message_factory, "GetMessageClass"):  # protobuf 4.22 and later
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


def field_names(message: type[Any]) -> Sequence[str]:
    """Names of the fields of a class that `build_messages` made."""
    return [field.name for field in message.DESCRIPTOR.fields]
