"""Whatever a file name, an answer or a torn file holds: it is written and read back, or refused as promised."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from expandd.adapters.api.tokens import Pair, TokenFile
from expandd.adapters.files import recovery_record
from expandd.adapters.files.sidecars import sidecar, sidecar_path, text
from expandd.adapters.store.sql.changes import Changes
from expandd.adapters.store.sqlite.job_store import SqliteConnection
from expandd.adapters.store.sqlite.schema import bring_up_to_date
from expandd.domain.errors import Fault, FaultCode
from expandd.domain.image import ImageFormat, Size
from expandd.domain.job import FileIdentity, Job, JobState, Result, Source, StateChange
from expandd.domain.naming import NAME_BYTES, numbered, result_name, template_config_error
from expandd.domain.offsets import Offsets
from tests.support.jobs import a_job_in, a_result, a_snapshot

NUMBERS = st.integers(0, 2**63 - 1)
SIDES = st.integers(1, 20_000)
SIZES = st.builds(Size, SIDES, SIDES)
WORDS = st.text(max_size=60)
"""What people and services say; half characters too."""

# Any bytes but the two that no name has, as Python shows them.
NAMES = (
    st.binary(min_size=1, max_size=NAME_BYTES)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in {b".", b".."})
    .map(os.fsdecode)
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: Path(*parts))

SOURCES = st.builds(
    Source,
    identity=st.builds(FileIdentity, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), NUMBERS, NUMBERS),
    format=st.none() | st.sampled_from(ImageFormat),
    size=st.none() | SIZES,
    orientation=st.integers(1, 8),
)
RESULTS = st.builds(
    Result, sha256=st.just("ab" * 32), bytes=NUMBERS, format=st.sampled_from(ImageFormat), size=SIZES, expected=SIZES
)
MOMENTS = st.floats(0.0, 2.5e11)
"""What a clock may show: from 1970 to the year 9892."""

STATE_CHANGES = st.lists(st.builds(StateChange, st.sampled_from(JobState), MOMENTS), max_size=6).map(tuple)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    side = st.integers(-5000, 5000)
    return a_job_in(
        draw(st.sampled_from(JobState)),
        folder=a_snapshot(Path("/srv") / draw(PATHS), preset_name=draw(WORDS.filter(_is_text)), name="{stem}{ext}"),
        relative=draw(PATHS),
        source=draw(SOURCES),
        offsets=draw(st.builds(Offsets, top=side, bottom=side, left=side, right=side)),
        image_id=draw(WORDS),
        task_id=draw(WORDS),
        link=draw(WORDS),
        note=draw(WORDS),
        notifications=tuple(draw(st.lists(st.integers(0, 2**64 - 1), max_size=4))),
        result=draw(st.none() | RESULTS),
        target=draw(st.none() | PATHS),
        archived_to=draw(st.none() | PATHS),
        fault=draw(st.none() | st.builds(Fault, st.sampled_from(FaultCode), WORDS, WORDS)),
        held=draw(st.booleans()),
        state_changes=draw(STATE_CHANGES),
    )


def _is_text(words: str) -> bool:
    return words.isprintable()


def _plain(words: str) -> str:
    """How the job database keeps words of others: half characters and zeros escaped."""
    return words.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def as_kept(job: Job) -> Job:
    fault = job.fault
    return job.with_(
        image_id=_plain(job.image_id),
        task_id=_plain(job.task_id),
        link=_plain(job.link),
        note=_plain(job.note),
        fault=fault and Fault(fault.code, _plain(fault.message), _plain(fault.what_to_do)),
    )


# --- rows, records


@given(jobs())
def test_any_job_comes_back_from_the_store_as_it_was(job: Job) -> None:
    with sqlite3.connect(":memory:", factory=SqliteConnection) as connection:
        connection.row_factory = sqlite3.Row
        bring_up_to_date(connection)
        database = Changes(connection)
        database.add(job)
        found = database.job(job.id)
    connection.close()

    assert found == as_kept(job)


@given(jobs())
def test_any_job_comes_back_from_its_record_as_it_was(job: Job) -> None:
    assert recovery_record.read(recovery_record.written(job), job.id) == as_kept(job)


@given(jobs(), st.data())
def test_a_record_that_was_cut_short_is_no_job(job: Job, data: st.DataObject) -> None:
    text = recovery_record.written(job)

    assert recovery_record.read(text[: data.draw(st.integers(0, len(text) - 1))], job.id) is None


@given(st.binary(max_size=300))
@example(b"\xff\xfe")
@example(b"[" * 100_000)
@example(b"9" * 10_000)
def test_no_bytes_make_the_reading_of_a_record_fail(text: bytes) -> None:
    assert recovery_record.read(text, "job-1") is None


def test_a_record_that_leads_elsewhere_is_no_job() -> None:
    job = a_job_in(JobState.SUBMITTING)

    assert recovery_record.read(recovery_record.written(job), "another") is None
    for path in ("../../etc/passwd", "/etc/passwd"):
        assert recovery_record.read(recovery_record.written(job.with_(relative=Path(path))), job.id) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


EARLIER = json.loads((Path(__file__).parent.parent / "contract" / "old" / "record_of_format_4.json").read_text())
"""The facts of a job by column, as they stood in records up to format 4."""

PLACES = ("stamps", "notifications", "state", "source", "source.identity", "source.identity.inode", "result.size.width")


@given(jobs(), st.sampled_from([*(field.name for field in fields(Job)), *PLACES]), VALUES)
@example(a_job_in(JobState.SUBMITTING), "stamps", [0])
@example(a_job_in(JobState.SUBMITTING), "stamps", [{"state": "claimed", "at": 1e300}])
@example(a_job_in(JobState.SUBMITTING), "stamps", [{"state": "claimed", "at": float("nan")}])
@example(a_job_in(JobState.SUBMITTING), "stamps", [{"state": "claimed", "at": -1e12}])
@example(a_job_in(JobState.SUBMITTING), "notifications", 7)
@example(a_job_in(JobState.SUBMITTING), "source.identity.device", "1e400")
@example(a_job_in(JobState.SUBMITTING), "source.identity.inode", float("inf"))
def test_a_record_with_anything_in_a_field_is_read_or_no_job(job: Job, field: str, value: Any) -> None:
    facts = json.loads(recovery_record.written(job))
    *way, last = field.split(".")
    inner = facts
    for name in way:
        inner = inner.get(name) or {}
    inner[last] = value
    _assert_is_read_or_no_job(facts, job.id)


@given(st.sampled_from(sorted(EARLIER)), VALUES)
@example("stamps", "[" * 100_000)
@example("stamps", "[[0]]")
@example("stamps", '[["claimed", 1e300]]')
@example("stamps", '[["claimed", NaN], ["intent", -1e12]]')
@example("notifications", "7")
@example("device", "1e400")
@example("inode", float("inf"))
def test_an_earlier_record_with_anything_in_a_column_is_read_or_no_job(column: str, value: Any) -> None:
    _assert_is_read_or_no_job({**EARLIER, column: value}, EARLIER["id"])


def _assert_is_read_or_no_job(facts: dict[str, Any], job_id: str) -> None:
    read = recovery_record.read(json.dumps(facts).encode(), job_id)

    assert read is None or json.loads(sidecar(read, Path("/srv/error/pic.png")))
    assert read is None or json.loads(text(read, a_result(), Path("/srv/outbox/pic.png")))


# --- sidecars


@given(jobs(), NAMES)
def test_any_failed_job_has_a_sidecar_of_plain_text(job: Job, name: str) -> None:
    failed = Path("/srv/error") / name
    facts = json.loads(sidecar(job.with_(state_changes=(StateChange(JobState.FAILED, 0.0),)), failed).decode("utf-8"))

    assert facts["file"].isprintable()
    assert facts["dropped_as"].isprintable()
    assert len(os.fsencode(sidecar_path(failed).name)) <= NAME_BYTES
    assert sidecar_path(failed).name.endswith(".error.json")


@given(jobs(), NAMES)
def test_any_result_has_a_sidecar_of_plain_text(job: Job, name: str) -> None:
    facts = json.loads(text(job, a_result(), Path("/srv/outbox") / name).decode("utf-8"))

    assert facts["result"]["file"].isprintable()
    assert facts["source"]["file"].isprintable()
    assert len(facts["times"]) == len({change.state for change in job.state_changes})


@given(jobs())
def test_a_sidecar_is_written_whatever_year_the_clock_shows(job: Job) -> None:
    json.loads(sidecar(job, Path("/srv/error/pic.png")))


# --- names of results

PIECES = st.sampled_from(("{stem}", "{ext}", "{width}", "{height}", "{preset}", "{", "}", "{{", "}}", "!r", ":>9", "é"))
TEMPLATES = st.lists(PIECES | st.text(max_size=3), max_size=6).map("".join)


@given(TEMPLATES, NAMES, st.sampled_from(ImageFormat), SIZES)
def test_a_template_is_refused_or_makes_a_legal_name_of_any_other(
    template: str, source: str, image_format: ImageFormat, size: Size
) -> None:
    if template_config_error(template) is not None:
        return
    name = result_name(template, source, extension=image_format.extension, size=size, preset="wide")
    first, second = (made for made, _ in zip(numbered(name), range(2), strict=False))

    assert "/" not in name
    assert "\0" not in name
    assert first != second
    assert 0 < len(os.fsencode(first)) <= NAME_BYTES
    assert 0 < len(os.fsencode(second)) <= NAME_BYTES


# --- the token file


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
async def test_a_token_file_is_a_pair_or_a_value_error(text: bytes) -> None:
    assert await _loaded(text) is None


@given(
    st.sampled_from(("access_token", "refresh_token", "fingerprint", "obtained", "expires", "sent")),
    VALUES,
)
async def test_a_token_file_with_anything_in_a_field_is_a_pair_or_a_value_error(field: str, value: Any) -> None:
    fields = {
        "access_token": "a",
        "refresh_token": "r",
        "fingerprint": "f",
        "obtained": 0.0,
        "expires": None,
        "sent": [],
    }
    pair = await _loaded(json.dumps({**fields, field: value}).encode())

    assert pair is None or isinstance(pair, Pair)


async def _loaded(text: bytes) -> Pair | None:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "tokens.json").write_bytes(text)

        async def never(_: float) -> None:
            raise AssertionError("nothing is waited for")

        try:
            return await TokenFile(Path(name), never).load()
        except ValueError:
            return None
