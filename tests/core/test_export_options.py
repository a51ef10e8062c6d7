"""Options of export targets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.exceptions import ConfigError
from graphquant_core.export_options import ExportOption, check_option_names, parse_options

OPTIONS = (
    ExportOption("opset", int, "A version."),
    ExportOption("activations", str, "A type.", ("int8", "uint8")),
    ExportOption("integer_io", bool, "Whether."),
    ExportOption("title", str, "Any text."),
)


@given(st.integers(), st.booleans(), st.sampled_from(["int8", "uint8"]), st.text())
def test_what_is_written_is_read(opset, flag, activations, title):
    """NAME=VALUE gives back the value, of the option's type; a text may hold anything."""
    values = {"opset": opset, "integer_io": flag, "activations": activations, "title": title}
    texts = [
        f"{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in values.items()
    ]
    assert parse_options("t", OPTIONS, texts) == values


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["opset"], r'"opset"\) must be NAME=VALUE'),
        (["=3"], "must be NAME=VALUE"),
        (["opset=x"], r'opset \("x"\) must be an integer'),
        (["integer_io=1"], r'integer_io \("1"\) must be true or false'),
        (["activations=int4"], r'activations \("int4"\) must be "int8" or "uint8"'),
        (["opset=1", "opset=2"], "opset .* is given twice"),
        (["opsett=1"], 'target "t" has no option "opsett".*did you mean "opset".*it has opset, '),
    ],
)
def test_what_means_no_value_is_refused_by_name(texts, words):
    """One error with the option, its value and what is allowed."""
    with pytest.raises(ConfigError, match=words):
        parse_options("t", OPTIONS, texts)


def test_a_target_without_options_says_so():
    """It has none."""
    with pytest.raises(ConfigError, match="it has none"):
        check_option_names("t", (), ["opset"])
