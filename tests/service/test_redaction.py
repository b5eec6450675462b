"""What never leaves the program, and what it leaves of everything else."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandd.service.observability.logs import set_up
from expandd.service.observability.redaction import HIDDEN, safe_text


def logged(**facts: object) -> str:
    """The line that these facts make, as JSON."""
    stream = io.StringIO()
    set_up(stream, pretty=False).info("something.happened", **facts)
    return stream.getvalue()


@pytest.mark.parametrize(
    "facts",
    [
        {"access_token": "s3cret-value"},
        {"password": "s3cret-value"},
        {"Authorization": "Bearer s3cret-value"},
        {"link": "https://host/s3cret-value"},
        {"why": "the call carried Bearer s3cret-value and failed"},
        {"why": "body was {'refresh_token': 's3cret-value', 'x': 1}"},
        {"why": 'body was {"access_token": "s3cret-value"}'},
        {"why": "PIKTID_PASSWORD=s3cret-value is wrong"},
        {"why": "GET https://host.example/path?signature=s3cret-value gave 403"},
        {"why": "GET https://user:s3cret-value@host.example/ gave 403"},
        {"why": "cannot connect to postgresql://expandd:s3cret-value@db.example/jobs"},
        {"nested": {"deep": [{"token": "s3cret-value"}]}},
    ],
)
def test_no_secret_gets_into_a_line(facts: dict[str, object]) -> None:
    assert "s3cret" not in logged(**facts)


def test_of_a_link_only_its_host_is_told() -> None:
    assert safe_text("see https://images.example/a/b?x=1 now") == "see https://images.example/… now"


def test_what_is_hidden_says_so() -> None:
    assert json.loads(logged(token="s3cret-value"))["token"] == HIDDEN


def test_ordinary_words_stay_as_they_are() -> None:
    words = "The login was refused: this token expired yesterday, the password is not accepted."

    assert safe_text(words) == words


@given(st.binary(min_size=1, max_size=60).filter(lambda raw: b"/" not in raw and b"\0" not in raw))
def test_no_file_name_can_forge_a_line(raw: bytes) -> None:
    line = logged(file=Path(os.fsdecode(raw)))

    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    assert json.loads(line)["event"] == "something.happened"


def test_a_pretty_line_is_one_line_too() -> None:
    stream = io.StringIO()
    set_up(stream, pretty=True).info("something.happened", file="a\nb\x1b[31mred")

    assert stream.getvalue().count("\n") == 1
    assert "\x1b[31mred" not in stream.getvalue()


def test_a_line_begins_with_when_how_grave_and_what() -> None:
    assert list(json.loads(logged(a=1)))[:3] == ["timestamp", "level", "event"]
