from __future__ import annotations

import os
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandd.domain.image import Size
from expandd.domain.naming import (
    NAME_BYTES,
    fitting,
    is_numbered,
    numbered,
    printable,
    result_name,
    template_config_error,
)

raw_names = st.binary(min_size=1, max_size=255).filter(
    lambda raw: not {0, ord("/")} & set(raw) and raw not in {b".", b".."},
)
file_names = raw_names.map(os.fsdecode)


def first(count: int, name: str) -> list[str]:
    return list(islice(numbered(name), count))


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{stem}{ext}", "holiday.png"),
        ("{stem}_expanded{ext}", "holiday_expanded.png"),
        ("{preset}-{stem}-{width}x{height}{ext}", "history-holiday-1080x1920.png"),
        ("{stem}", "holiday"),
        ("{{{stem}}}{ext}", "{holiday}.png"),
    ],
)
def test_a_template_makes_the_name(template: str, name: str) -> None:
    made = result_name(template, "holiday.jpeg", extension=".png", size=Size(1080, 1920), preset="history")

    assert template_config_error(template) is None
    assert made == name


def test_only_the_last_ending_is_replaced_and_the_folder_is_no_part_of_it() -> None:
    made = result_name("{stem}{ext}", "v1.2 final.tar.jpg", extension=".webp", size=Size(1, 1), preset="p")

    assert made == "v1.2 final.tar.webp"


@pytest.mark.parametrize(
    ("template", "config_error"),
    [
        ("{stem", "does not parse"),  # not closed
        ("stem}", "does not parse"),  # not opened
        ("{name}", "unknown field {name}"),
        ("{}", "unknown field {}"),
        ("{0}", "unknown field {0}"),
        ("{stem.upper}", "unknown field {stem.upper}"),  # no way into objects
        ("{stem[0]}", "unknown field {stem[0]}"),
        ("{stem.__class__}", "unknown field"),
        ("{stem!r}", "format codes"),
        ("{stem:>9999999999}", "format codes"),  # a name of ten gigabytes
        ("{stem:{width}}", "format codes"),
        ("image{ext}", "lacks {stem}"),
        ("", "lacks {stem}"),
        ("out/{stem}{ext}", "'/'"),
        ("{stem}\0", "'/'"),
        (".{stem}{ext}", "hidden"),
        ("{ext}{stem}", "hidden"),  # ".png" comes first
        ("{stem}.jpg", "write {ext} in its place"),
        ("{stem}_{preset}.PNG", "called .PNG"),
        ("{stem}.j{stem}.TIFF", "called .TIFF"),
    ],
)
def test_a_template_that_cannot_work_is_refused_in_words(template: str, config_error: str) -> None:
    found = template_config_error(template)

    assert found is not None
    assert config_error in found


@pytest.mark.parametrize("name", ["pic.png", "pic", "a-2.png", "x" * 251 + ".png", "é" * 200, "v1." + "x" * 120])
def test_a_numbered_name_is_known_as_such(name: str) -> None:
    assert all(is_numbered(found, name) for found in first(120, name))


@pytest.mark.parametrize(
    "found", ["pic.jpg", "pic-2.jpg", "pic-1.png", "pic-02.png", "pic-2.png.png", "other-2.png", "pic-2x.png", "pic-"]
)
def test_another_name_is_no_numbered_one(found: str) -> None:
    assert not is_numbered(found, "pic.png")


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("pic.png", ["pic.png", "pic-2.png", "pic-3.png"]),
        ("pic", ["pic", "pic-2", "pic-3"]),
        ("pic.tar.gz", ["pic.tar.gz", "pic.tar-2.gz", "pic.tar-3.gz"]),
        ("pic-2.png", ["pic-2.png", "pic-2-2.png", "pic-2-3.png"]),
        # 255 bytes: the stem gives way, never the ending
        ("x" * 251 + ".png", ["x" * 251 + ".png", "x" * 249 + "-2.png", "x" * 249 + "-3.png"]),
        # two bytes a letter: cut between letters, never within one
        ("ä" * 125 + ".png", ["ä" * 125 + ".png", "ä" * 124 + "-2.png", "ä" * 124 + "-3.png"]),
        # an ending that leaves no room for a number is no ending
        ("a." + "b" * 253, ["a." + "b" * 253, "a." + "b" * 251 + "-2", "a." + "b" * 251 + "-3"]),
    ],
)
def test_taken_names_are_numbered_from_two(name: str, names: list[str]) -> None:
    assert first(3, name) == names


def test_the_number_may_grow_and_the_name_stays_legal() -> None:
    name = next(islice(numbered("x" * 251 + ".png"), 12_344, None))

    assert name.endswith("x-12345.png")
    assert len(name) == NAME_BYTES


@given(name=file_names)
def test_every_legal_name_has_legal_numbered_ones_that_differ(name: str) -> None:
    made = first(12, name)

    assert made[0] == name
    assert len(set(made)) == 12
    for one in made:
        assert 0 < len(os.fsencode(one)) <= NAME_BYTES
        assert "/" not in one


@given(stem=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=400))
def test_a_cut_name_is_made_of_whole_characters(stem: str) -> None:
    made = fitting(stem, ".png")

    assert len(made.encode()) <= NAME_BYTES
    assert made.endswith(".png")
    assert stem.startswith(made.removesuffix(".png"))
    if len(stem.encode()) > NAME_BYTES - 4:
        assert len(made.encode()) > NAME_BYTES - 8


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("image.png", "image.png"),
        ("Größe 日本 😀.png", "Größe 日本 😀.png"),  # text is text
        ("new\nline.png", "new\\nline.png"),  # never a second line in a log
        ("tab\tand\rreturn", "tab\\tand\\rreturn"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),  # never a colour on a terminal
        ("\x9b31m", "\\x9b31m"),  # the same in one byte
        ("b\udce4d.png", "b\\xe4d.png"),  # Latin-1: no UTF-8
        ("\u202egnp.exe", "\\u202egnp.exe"),  # never read backwards
        ("nul\0", "nul\\x00"),
    ],
)
def test_a_name_is_printed_so_that_it_does_no_harm(name: str, shown: str) -> None:
    assert printable(name) == shown


@given(name=file_names)
def test_any_name_can_be_printed_on_one_line(name: str) -> None:
    shown = printable(name)

    assert shown.isprintable()
    assert shown.encode("utf-8")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("b\udce4d", "b\\xe4d"),
        ("a\ud800b", "a\\ud800b"),
        ("\udc7f\udd00\udfff", "\\udc7f\\udd00\\udfff"),
        ("a\0\n", "a\\x00\\n"),
    ],
)
def test_whatever_a_text_holds_it_can_be_shown(name: str, shown: str) -> None:
    assert printable(name) == shown
    assert printable(name).encode()
