"""Laws of both file forms, over random plans, configurations and broken files."""

from __future__ import annotations

import json

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.exceptions import GraphQuantError
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan
from graphquant_qat.config.json_form import format_config, parse_config, read_config
from graphquant_qat.config.model import ActivationConfig, LayerConfig, RetrainConfig, WeightConfig
from graphquant_qat.config.text_form import parse_definition, read_definition
from graphquant_qat.config.text_schema import AMCTRetrainConfig

OP_TYPES = ["AvgPool", "Conv2D", "Conv2DBackpropInput", "DepthwiseConv2dNative", "MatMul"]
REQUIRED = ["clip_max", "clip_min", "layer_name", "layer_type"]
CLIPS = st.floats(2.0**-100, 2.0**100, width=32)

op_names = st.from_regex(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]{0,20}", fullmatch=True).filter(
    lambda name: name not in ("version", "batch_num")
)


def layer_of(name, op_type):
    return Layer(name, op_type, 0, weight_port=None if op_type == "AvgPool" else 1)


@st.composite
def plans(draw):
    names = draw(st.lists(op_names, min_size=1, max_size=6, unique=True))
    rows = [
        draw(st.sampled_from([layer_of, lambda *row: Skip(*row, "it is not static")]))(
            name, draw(st.sampled_from(OP_TYPES))
        )
        for name in names[1:]
    ]
    return Plan((layer_of(names[0], draw(st.sampled_from(OP_TYPES))), *rows))


activations = st.builds(
    lambda clips, fixed_min: ActivationConfig("ulq_quantize", *clips, fixed_min),
    st.one_of(st.just((None, None)), st.tuples(CLIPS, CLIPS.map(lambda clip: -clip))),
    st.sampled_from([None, False, True]),
)


@st.composite
def layer_configs(draw, layer, enabled):
    weight = None
    if layer.weight_port is not None:
        channel_wise = layer.op_type != "MatMul" and draw(st.booleans())
        weight = WeightConfig(draw(st.sampled_from(["arq_retrain", "ulq_retrain"])), channel_wise)
    return LayerConfig(enabled, draw(activations), weight)


@st.composite
def plans_and_configs(draw):
    plan = draw(plans())
    enabled = [True, *(draw(st.booleans()) for _ in plan.layers[1:])]
    layers = {
        layer.name: draw(layer_configs(layer, on))
        for layer, on in zip(plan.layers, enabled, strict=True)
    }
    return plan, RetrainConfig(draw(st.integers(1, 2**31 - 1)), layers)


@st.composite
def broken(draw, text):
    """`text` as bytes, with some pieces removed, repeated or replaced."""
    content = text.encode()
    piece = st.one_of(
        st.sampled_from(
            [b"", b'"', b"{", b"}", b":", b",", b"[", b"NaN", b"1e999", b"\xff", b"\\"]
        ),
        st.binary(max_size=4),
    )
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = draw(st.integers(start, min(start + 40, len(content))))
        content = content[:start] + draw(piece) + content[draw(st.sampled_from([start, end])) :]
    return content


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("config") / "file"


@given(plans_and_configs())
def test_a_configuration_is_read_back_as_it_was_written(drawn):
    """parse_config(format_config(c), plan) == c, in plan order."""
    plan, config = drawn
    read = parse_config(format_config(config), plan)
    assert read == config
    assert list(read.layers) == [layer.name for layer in plan.layers]


@given(plans_and_configs(), st.data())
def test_a_broken_json_file_gives_only_our_errors(path, drawn, data):
    """Any bytes are a configuration of every layer of the plan, or a GraphQuantError."""
    plan, config = drawn
    path.write_bytes(data.draw(broken(format_config(config))))
    try:
        read = read_config(path, plan)
    except GraphQuantError:
        return
    assert list(read.layers) == [layer.name for layer in plan.layers]


@given(plans_and_configs(), st.data())
def test_any_value_at_any_place_gives_only_our_errors(drawn, data):
    """Any JSON value in place of any other: a configuration, or a GraphQuantError."""
    plan, config = drawn
    root = json.loads(format_config(config))
    inner, key = root, data.draw(st.sampled_from(list(root)))
    while isinstance(inner[key], dict) and inner[key] and data.draw(st.booleans()):
        inner = inner[key]
        key = data.draw(st.sampled_from(list(inner)))
    scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
    inner[key] = data.draw(
        st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(st.text(), scalars))
    )
    try:
        read = parse_config(json.dumps(root), plan)
    except GraphQuantError:
        return
    assert parse_config(format_config(read), plan) == read


@st.composite
def messages(draw, names, kind=AMCTRetrainConfig):
    """A message of the schema with random fields, most of them such that it is accepted."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        values = field_values(names, field)
        if values is None or not (field.name in REQUIRED or draw(st.booleans())):
            continue
        if field.containing_oneof and message.WhichOneof(field.containing_oneof.name):
            continue
        current = getattr(message, field.name)
        if hasattr(current, "extend"):
            current.extend(draw(st.lists(values, max_size=2)))
        elif field.message_type is None:
            setattr(message, field.name, draw(values))
        else:
            current.CopyFrom(draw(values))
    return message


def field_values(names, field):
    """Values for one field; ``None`` for the fields that are always refused."""
    if "prune" in field.name or field.name == "fakequant_precision_mode":
        return None
    if field.message_type is not None:
        return st.deferred(lambda: messages(names, field.message_type._concrete_class))
    by_name = {
        "batch_num": st.integers(1, 9),
        "dst_type": st.sampled_from([1, 1, 1, 0]),
        "clip_max": CLIPS,
        "clip_min": CLIPS.map(lambda clip: -clip),
        "channel_wise": st.booleans(),
        "fixed_min": st.booleans(),
    }
    types = "type" in field.name
    return by_name.get(field.name, st.sampled_from(OP_TYPES if types else names))


@given(plans(), st.data())
def test_a_definition_makes_a_configuration_that_its_own_file_states(plan, data):
    """A random message is refused with our error, or gives c with parse(format(c)) == c, in which
    a layer is on exactly when an override names it or its type, or no skip does.
    """
    names = [row.name for row in plan.rows]
    message = data.draw(messages(names))
    try:
        config = parse_definition(text_format.MessageToString(message), plan)
    except GraphQuantError:
        return
    assert parse_config(format_config(config), plan) == config
    skips = {*message.skip_layers, *message.quant_skip_layers}
    skip_types = {*message.skip_layer_types, *message.quant_skip_types}
    overrides = {override.layer_name for override in message.override_layer_configs}
    override_types = {override.layer_type for override in message.override_layer_types}
    assert config.enabled == tuple(
        layer.name
        for layer in plan.layers
        if layer.name in overrides
        or layer.op_type in override_types
        or not (layer.name in skips or layer.op_type in skip_types)
    )


@given(plans(), st.data())
def test_a_broken_definition_gives_only_our_errors(path, plan, data):
    """Any bytes are a definition, or a GraphQuantError."""
    text = text_format.MessageToString(data.draw(messages([row.name for row in plan.rows])))
    path.write_bytes(data.draw(broken(text)))
    try:
        config = read_definition(path, plan)
    except GraphQuantError:
        return
    assert list(config.layers) == [layer.name for layer in plan.layers]


@given(st.text())
def test_any_text_is_refused_with_our_error(text):
    """Text that nobody meant as a definition: the default of the plan, or a GraphQuantError."""
    plan = Plan((layer_of("conv", "Conv2D"),))
    try:
        config = parse_definition(text, plan)
    except GraphQuantError:
        return
    assert config.enabled == ("conv",)
