"""Whatever a file holds: it is read as JSON or refused, and nothing else comes of it."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expandd.adapters.json_text import parsed_json, read_json
from tests.support.examples import MORE, examples

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(PLAIN)
def test_what_json_can_say_is_read(value: object) -> None:
    assert parsed_json(json.dumps(value).encode()) == value


@settings(max_examples=examples(MORE))
@given(st.binary() | st.text(alphabet='[]{}",:0123456789.eE+-nulNaIfity\\u \n').map(str.encode))
def test_anything_else_is_a_value_error(text: bytes) -> None:
    try:
        value = parsed_json(text)
    except ValueError:
        return
    assert json.loads(json.dumps(value, allow_nan=False)) == value


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 60_000,
        b'{"a":' * 60_000,
        b"[" * 60_000 + b"]" * 60_000,
        b"1" * 5000,
        b"1e999",
        b"-1e999",
        b"NaN",
        b"Infinity",
    ],
)
def test_what_no_program_of_ours_writes_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parsed_json(text)


def test_of_a_long_file_no_more_is_read_than_is_allowed() -> None:
    file = io.BytesIO(b" " * 1_000_000)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        read_json(file, most=100)

    assert file.tell() == 101
