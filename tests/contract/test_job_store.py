from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import sqlite3
import stat
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandd.adapters.files.recovery_record import read, written
from expandd.adapters.store.postgres import job_store
from expandd.adapters.store.postgres.job_store import PostgresJobStore
from expandd.adapters.store.sql.job_store import SqlJobStore
from expandd.adapters.store.sql.queries import Queries
from expandd.adapters.store.sqlite.job_store import SqliteJobStore, reading, write_commands
from expandd.adapters.store.sqlite.schema import STEPS, VERSION
from expandd.domain.commands import Command, Hold, HoldKind, Verb
from expandd.domain.errors import DatabaseAway, Fault, FaultCode, NameTaken, RowRefused, StaleJob
from expandd.domain.image import ImageFormat, Size
from expandd.domain.job import FileIdentity, Job, JobState, Source, StateChange, moved
from expandd.domain.offsets import Offsets
from expandd.domain.settings import Duplicates, Originals
from expandd.domain.spending import Cap, Denied, Limits, Outcome, Payment, Spent, Today
from expandd.engine.ports import JobStore
from tests.support.fakes import MemoryJobStore
from tests.support.jobs import a_job, a_job_in, a_result, a_snapshot, a_source
from tests.support.manual_clock import START

S = JobState


@dataclass(frozen=True, slots=True)
class Place:
    """A job database, and how it is opened, again and again, read and steered."""

    open: Callable[[], SqlJobStore]
    reading: Callable[[], AbstractContextManager[Queries | None]]
    write_commands: Callable[[Sequence[Command]], None]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            path = tmp_path / "journal.sqlite"
            opened: Callable[[], SqlJobStore] = partial(SqliteJobStore, path)
            looks: Callable[[], AbstractContextManager[Queries | None]] = partial(reading, path)
            commands = partial(write_commands, path)
        else:
            url = request.getfixturevalue("postgres").database()
            opened = partial(PostgresJobStore, url)
            looks, commands = partial(job_store.reading, url), partial(job_store.write_commands, url)
        yield Place(lambda: stack.enter_context(closing(opened())), looks, commands)


@pytest.fixture
def open_store(place: Place) -> Callable[[], SqlJobStore]:
    return place.open


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    if request.param == "memory":
        yield MemoryJobStore()
    elif request.param == "sqlite":
        with closing(SqliteJobStore(tmp_path / "journal.sqlite")) as in_a_file:
            yield in_a_file
    else:
        with closing(PostgresJobStore(request.getfixturevalue("postgres").database())) as at_a_server:
            yield at_a_server


@pytest.fixture
def open_sqlite(tmp_path: Path) -> Iterator[Callable[[], SqliteJobStore]]:
    """Opens the job database of one file, again and again."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(SqliteJobStore(tmp_path / "journal.sqlite")))


# --- what every job database does ---


@pytest.mark.parametrize("state", list(S))
async def test_a_job_comes_back_as_it_was_written(store: JobStore, state: JobState) -> None:
    job = a_job_in(state, held=True, note="why", attempts=3, tries=5, notifications=(7, 9), task_id="task")
    await store.add(job)

    assert await store.get(job.id) == job


async def test_what_was_never_written_is_none(store: JobStore) -> None:
    assert await store.get("nobody") is None
    assert await store.by_image_id("nobody") is None
    assert list(await store.open_jobs()) == []


async def test_a_save_replaces_the_row(store: JobStore) -> None:
    job = a_job()
    await store.add(job)
    after = moved(job, S.UPLOADED, 2.0, image_id="image")
    await store.save(after, S.CLAIMED)

    assert await store.get(job.id) == after


@pytest.mark.parametrize(
    ("expected", "changes"),
    [
        (S.UPLOADED, {}),  # another state than the one there
        (S.CLAIMED, {"owner": "host-b"}),  # another owner's job
        (S.CLAIMED, {"epoch": 1}),  # the same owner, who had lost it in between
        (S.CLAIMED, {"id": "job-2"}),  # no such job
    ],
)
async def test_a_save_by_somebody_who_is_out_of_date_changes_nothing(
    store: JobStore, expected: JobState, changes: dict[str, Any]
) -> None:
    job = a_job()
    await store.add(job)
    with pytest.raises(StaleJob):
        await store.save(job.with_(note="stale", **changes), expected)

    assert await store.get(job.id) == job
    assert await store.get("job-2") is None


async def test_of_many_that_move_a_job_at_once_one_wins(store: JobStore) -> None:
    job = a_job_in(S.UPLOADED)
    await store.add(job)
    rivals = [moved(job, S.SUBMITTING, 3.0, note=f"rival {number}") for number in range(20)]
    outcomes = await asyncio.gather(*(store.save(rival, S.UPLOADED) for rival in rivals), return_exceptions=True)
    winners = [rival for rival, outcome in zip(rivals, outcomes, strict=True) if outcome is None]

    assert len(winners) == 1
    assert [type(outcome) for outcome in outcomes].count(StaleJob) == 19
    assert await store.get(job.id) == winners[0]


async def test_open_jobs_are_those_not_closed_oldest_first(store: JobStore) -> None:
    for job_id in ("0003", "0001", "0004", "0002"):
        await store.add(a_job(job_id))
    await store.save(a_job("0002").with_(closed=True), S.CLAIMED)

    assert [job.id for job in await store.open_jobs()] == ["0001", "0003", "0004"]


async def test_the_youngest_job_of_an_image_id_is_found_open_or_closed(store: JobStore) -> None:
    await store.add(a_job_in(S.DONE, "0002").with_(image_id="image", closed=True))
    await store.add(a_job_in(S.DONE, "0001").with_(image_id="image"))
    await store.add(a_job("0003"))
    found = await store.by_image_id("image")

    assert found is not None
    assert found.id == "0002"
    assert await store.by_image_id("") is None


async def test_the_jobs_done_last_are_told_youngest_first(store: JobStore) -> None:
    for number, at in enumerate((30.0, 10.0, 20.0)):
        job = a_job_in(S.DONE, f"{number}", closed=True).with_(state_changes=(StateChange(S.DONE, START + at),))
        await store.add(job)
    await store.add(a_job_in(S.DONE, "open").with_(state_changes=(StateChange(S.DONE, START + 40.0),)))
    await store.add(
        a_job_in(S.FAILED, "failed", closed=True).with_(state_changes=(StateChange(S.FAILED, START + 50.0),))
    )

    assert [job.id for job in await store.done_last(2)] == ["0", "2"]


async def test_what_another_owner_waits_for_is_told_where_it_was_paid_for_earlier(store: JobStore) -> None:
    mine = a_job_in(S.UNKNOWN, "mine").with_(owner="a", payments=(Payment(START + 50.0),))
    earlier, later = (
        a_job_in(S.ACCEPTED, name).with_(
            owner="b", payments=(Payment(at),), state_changes=(StateChange(S.ACCEPTED, at + 1.0),)
        )
        for name, at in (("earlier", START + 40.0), ("later", START + 60.0))
    )
    for job in (mine, later, earlier.with_(id="own", owner="a"), earlier.with_(id="held", held=True)):
        await store.add(job)
    assert await store.accepted_elsewhere(mine) is None

    await store.add(earlier)
    assert await store.accepted_elsewhere(mine) == START + 41.0


async def test_stale_write_fails_alone_among_two_hundred(
    store: JobStore,
) -> None:
    jobs = [a_job(f"{number:04d}") for number in range(200)]
    stale = store.save(a_job("9999"), S.CLAIMED)
    outcomes = await asyncio.gather(*(store.add(job) for job in jobs), stale, return_exceptions=True)

    assert outcomes[:-1] == [None] * 200
    assert isinstance(outcomes[-1], StaleJob)
    assert len(await store.open_jobs()) == 200


@pytest.mark.parametrize(
    "changes",
    [{"tries": 2**64}, {"epoch": 2**63}, {"epoch": -(2**70)}, {"state_changes": (StateChange(S.CLAIMED, math.inf),)}],
)
async def test_a_value_out_of_range_is_refused_and_concerns_no_other_write(
    open_store: Callable[[], SqlJobStore], changes: dict[str, Any]
) -> None:
    store = open_store()
    good = [store.add(a_job(f"{number:04d}")) for number in range(5)]
    bad = store.add(a_job("9999").with_(**changes))
    outcomes = await asyncio.gather(*good[:2], bad, *good[2:], return_exceptions=True)

    assert [outcome for outcome in outcomes if outcome is not None] == [outcomes[2]]
    assert isinstance(outcomes[2], RowRefused)
    assert len(await store.open_jobs()) == 5


async def test_a_new_store_is_this_users_alone_whatever_the_umask(
    open_sqlite: Callable[[], SqliteJobStore], tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        await open_sqlite().add(a_job())
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("journal.sqlite*")}
    finally:
        os.umask(before)

    assert modes == {"journal.sqlite": 0o600, "journal.sqlite-shm": 0o600, "journal.sqlite-wal": 0o600}


async def test_one_write_that_fails_is_told_to_its_own_asker(open_store: Callable[[], SqlJobStore]) -> None:
    """A key that is there already, a job that has moved on, and good ones, all in one group."""
    store = open_store()
    await store.add(a_job("0000"))
    writes = [
        store.add(a_job("0001")),
        store.add(a_job("0000", note="another one")),
        store.save(moved(a_job_in(S.UPLOADED, "0000"), S.SUBMITTING, 3.0), S.UPLOADED),
        store.save(moved(a_job("0000"), S.UPLOADED, 3.0), S.CLAIMED),
        store.add(a_job("0002")),
    ]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [type(None), RowRefused, StaleJob, type(None), type(None)]
    assert [job.id for job in await store.open_jobs()] == ["0000", "0001", "0002"]


async def test_a_group_that_the_disk_has_no_room_for_fails_for_those_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(SqliteJobStore(path)) as store:
        await store.open_jobs()
        with closing(sqlite3.connect(path)) as other:
            other.execute(
                "CREATE TRIGGER full BEFORE INSERT ON jobs WHEN json_extract(new.facts, '$.note') = 'large' "
                "BEGIN SELECT json('{'); END"
            )
        large = [store.add(a_job(f"9{number}", note="large")) for number in range(2)]
        outcomes = await asyncio.gather(
            store.add(a_job("1")), large[0], store.add(a_job("2")), large[1], return_exceptions=True
        )

        assert [type(outcome) for outcome in outcomes] == [type(None), DatabaseAway, type(None), DatabaseAway]
        assert [job.id for job in await store.open_jobs()] == ["1", "2"]


async def test_payments_are_appended_and_only_their_outcome_changes(store: JobStore) -> None:
    job = a_job_in(S.UPLOADED)
    await store.add(job)
    way = (S.UPLOADED, S.SUBMITTING, S.UNKNOWN, S.UPLOADED, S.SUBMITTING, S.ACCEPTED)
    for number, (expected, to) in enumerate(pairwise(way)):
        job = moved(job, to, START + 100.0 + number)
        await store.save(job, expected)
    found = await store.get(job.id)

    assert found == job
    assert job.payments == (Payment(START + 100.0, Outcome.NOT_MADE), Payment(START + 103.0, Outcome.TAKEN))


async def test_a_stale_write_whose_caller_was_cancelled_is_nobodys_failure(store: JobStore) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    writing = asyncio.create_task(store.save(a_job(), JobState.UPLOADED))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait({writing})
    # Its turn comes after that.
    assert await store.get("job-1") is None
    del writing
    gc.collect()
    assert told == []


async def test_a_write_whose_asker_went_away_is_whole_or_absent(store: JobStore) -> None:
    job = a_job()
    writing = asyncio.create_task(_do(store.add(job)))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.wait({writing})

    assert await store.get(job.id) in {None, job}


@pytest.mark.parametrize("words", ["\udce4", "half \ud83d", "zero \x00 zero", "new\nline", "日本"])
async def test_any_words_from_outside_can_be_written_down(store: JobStore, words: str) -> None:
    fault = Fault(FaultCode.FAILED_AT_API, words, words)
    await store.add(a_job(note=words, image_id=words, task_id=words, link=words, fault=fault))
    [job] = await store.open_jobs()

    assert job.fault is not None
    assert job.fault.code is FaultCode.FAILED_AT_API


async def test_the_largest_numbers_of_a_file_system_fit(store: JobStore) -> None:
    identity = a_source().identity.__class__(device=2**64 - 1, inode=2**64 - 1, size=2**62, mtime_ns=-(2**62))
    job = a_job(source=a_source(identity=identity))
    await store.add(job)

    assert await store.get(job.id) == job


names = st.binary(min_size=1, max_size=255).filter(
    lambda raw: not {0, ord("/")} & set(raw) and raw not in {b".", b".."}
)


@given(name=names)
def test_names_of_any_bytes_come_back_as_they_were(name: bytes) -> None:
    path = Path(os.fsdecode(name))
    job = a_job(
        relative=path,
        folder=a_snapshot(Path("/srv") / path),
        target=Path("/out") / path,
        archived_to=Path("/done") / path,
        result=a_result(),
    )

    async def there_and_back() -> None:
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
            for store in (MemoryJobStore(), SqliteJobStore(Path(directory) / "journal.sqlite")):
                await store.add(job)
                found = await store.get(job.id)
                if isinstance(store, SqliteJobStore):
                    store.close()

                assert found == job

    asyncio.run(there_and_back())


# --- what only a disk can do ---


async def test_what_was_written_survives_a_reopening(open_store: Callable[[], SqlJobStore]) -> None:
    first = open_store()
    job = a_job_in(S.DOWNLOADED)
    await first.add(job)
    first.close()
    second = open_store()

    assert list(await second.open_jobs()) == [job]


async def test_what_was_written_survives_a_process_that_never_closed_it(
    open_store: Callable[[], SqlJobStore],
) -> None:
    job = a_job_in(S.SUBMITTING)
    await open_store().add(job)

    assert list(await open_store().open_jobs()) == [job]


async def test_every_write_is_synced_before_it_returns(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(SqliteJobStore(path)) as store:
        await store.add(a_job())
        with closing(sqlite3.connect(path)) as reader:
            mode = reader.execute("PRAGMA journal_mode").fetchone()
            rows = reader.execute("SELECT count(*) FROM jobs").fetchone()

    assert mode == ("wal",)
    assert rows == (1,)


async def test_many_writers_share_their_syncs(tmp_path: Path) -> None:
    """Two hundred writes of their own syncs would take seconds on a disk; in groups they are a handful."""
    path = tmp_path / "journal.sqlite"
    with closing(SqliteJobStore(path)) as store:
        await store.get("x")
        await asyncio.gather(*(store.add(a_job(f"{number:04d}")) for number in range(200)))
        frames = (path.with_name(path.name + "-wal").stat().st_size - 32) // (4096 + 24)

    # Each commit writes at least the last page of the table anew.
    assert frames < 200


def directory_in_its_place(path: Path) -> None:
    path.mkdir()


def something_else(path: Path) -> None:
    path.write_bytes(b"this is no database, and long enough to be sure of it" * 100)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")


@pytest.mark.parametrize("spoil", [directory_in_its_place, something_else, newer])
async def test_a_file_that_is_no_store_is_said_to_be_away(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    path = tmp_path / "journal.sqlite"
    spoil(path)
    with closing(SqliteJobStore(path)) as store:
        for call in (store.add(a_job()), store.save(a_job(), S.CLAIMED), store.open_jobs()):
            with pytest.raises(DatabaseAway, match=r"journal\.sqlite"):
                await call


async def test_a_directory_that_cannot_be_written_is_said_to_be_away() -> None:
    with closing(SqliteJobStore(Path("/proc/journal.sqlite"))) as store, pytest.raises(DatabaseAway):
        await store.add(a_job())


async def test_a_newer_store_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    newer(path)
    with closing(SqliteJobStore(path)) as store, pytest.raises(DatabaseAway, match="newer"):
        await store.open_jobs()
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()

    assert tables == (0,)


async def test_a_store_whose_directory_comes_back_works_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with closing(SqliteJobStore(state / "journal.sqlite")) as store:
        with pytest.raises(DatabaseAway):
            await store.add(a_job())
        state.mkdir()
        await store.add(a_job())

        assert await store.get("job-1") == a_job()


async def test_a_store_that_another_process_writes_into_waits_for_its_turn(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(SqliteJobStore(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        await store.add(a_job("0001"))
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.create_task(_do(store.add(a_job("0002"))))
        await asyncio.sleep(0)
        other.execute("COMMIT")
        await adding

        assert len(await store.open_jobs()) == 2


async def _do(work: Awaitable[None]) -> None:
    await work


# --- what people decide, and what is forgotten ---


def an_command(verb: Verb = Verb.RETRY, **changes: Any) -> Command:
    return Command(**{"verb": verb, "at": 5.0, **changes})


async def test_commands_come_in_order_and_are_forgotten_once_carried_out(place: Place) -> None:
    odd = Path(os.fsdecode(b"caf\xe9.png"))
    await place.open().open_jobs()
    place.write_commands(
        [an_command(Verb.PAID, job_id="job-1"), an_command(Verb.CANCEL, inbox=Path("/in"), relative=odd)]
    )
    store = place.open()
    first, second = await store.commands()
    await store.carried_out(first)
    await store.carried_out(first)

    assert first == an_command(Verb.PAID, job_id="job-1", number=1)
    assert second == an_command(Verb.CANCEL, inbox=Path("/in"), relative=odd, number=2)
    assert list(await store.commands()) == [second]


def test_a_command_makes_no_store_where_none_is(tmp_path: Path) -> None:
    with pytest.raises(DatabaseAway, match="is its disk mounted"):
        write_commands(tmp_path / "journal.sqlite", [an_command(job_id="job-1")])

    assert list(tmp_path.iterdir()) == []


async def test_a_command_can_be_left_while_the_daemon_runs(place: Place) -> None:
    store = place.open()
    before = list(await store.commands())
    await asyncio.to_thread(place.write_commands, [an_command(job_id="job-1")])

    assert before == []
    assert [command.job_id for command in await store.commands()] == ["job-1"]


async def test_a_command_is_seen_also_where_the_database_was_not_written_to_for_long(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(SqliteJobStore(path)) as store:
        await store.add(a_job())
        os.utime(f"{path}-wal", (1.0, 1.0))
        assert [*await store.commands(), *await store.commands()] == []
        write_commands(path, [an_command(Verb.PAUSE)])
        assert [one.verb for one in await store.commands()] == [Verb.PAUSE]
        assert [one.verb for one in await store.commands()] == [Verb.PAUSE]


async def test_holds_are_one_of_each_kind_about_each_thing(store: JobStore) -> None:
    inbox = Path("/in")
    all_paused = Hold(kind=HoldKind.PAUSED, at=1.0)
    one_paused = Hold(kind=HoldKind.PAUSED, at=2.0, inbox=inbox)
    file_paused = Hold(kind=HoldKind.PAUSED, at=3.0, inbox=inbox, relative=Path("a.png"))
    again = Hold(kind=HoldKind.AGAIN, at=4.0, sha256="ab" * 32)
    for command in (all_paused, one_paused, file_paused, again, replace(one_paused, at=5.0)):
        await store.set_hold(command)
    await store.lift_hold(all_paused)
    await store.lift_hold(all_paused)

    assert list(await store.holds()) == [file_paused, again, replace(one_paused, at=5.0)]


# --- what was paid for ---

JANUARY = Today(
    day="2027-01-15", day_began=START, month_began=START - 1e6, day_ends=START + 86400.0, month_ends=START + 1e6
)


async def test_a_proof_that_something_can_be_written_leaves_nothing(store: JobStore) -> None:
    await asyncio.gather(store.prove(), store.prove())
    await store.add(a_job())
    await store.prove()

    assert await store.spent(JANUARY) == []
    assert await store.open_jobs() == [a_job()]


async def test_what_was_spent_is_counted_by_inbox_also_of_jobs_that_are_forgotten(store: JobStore) -> None:
    await store.add(a_job_in(S.DONE, "1", closed=True))
    await store.add(a_job_in(S.DONE, "2", closed=True, folder=a_snapshot(Path("/other"))))
    await store.add(a_job_in(S.ACCEPTED, "3"))
    await store.add(a_job_in(S.RETURNED, "4", closed=True))
    refused = moved(a_job_in(S.SUBMITTING, "5"), S.UPLOADED, START + 9)
    await store.add(moved(refused, S.SUBMITTING, START + 10))
    before = _by_inbox(await store.spent(JANUARY))
    await store.prune(START + 1e6)

    # Also what is open counts, and of a job whose first call was refused the second.
    assert before == {Path("/srv/hot/inbox"): 3, Path("/other/inbox"): 1}
    assert _by_inbox(await store.spent(JANUARY)) == before


async def test_what_was_spent_before_the_month_is_not_counted(store: JobStore) -> None:
    await store.add(a_job_in(S.DONE, closed=True))
    february = replace(JANUARY, day="2027-02-15", day_began=START + 3e6, month_began=START + 2e6)
    before = list(await store.spent(february))
    await store.prune(START + 1e6)

    assert before == []
    assert list(await store.spent(february)) == []


async def test_what_two_forget_at_once_counts_once(place: Place) -> None:
    hosts = [place.open(), place.open()]
    for number in range(20):
        await hosts[0].add(a_job_in(S.DONE, f"{number:02d}", closed=True))
    forgotten = await asyncio.gather(*(host.prune(START + 1e6) for host in hosts))

    assert sorted(forgotten) == [0, 20]
    assert sum(one.images for one in await hosts[1].spent(JANUARY)) == 20


HERE, ELSEWHERE = a_snapshot(), a_snapshot(Path("/other"))


def _about_to_be_paid(name: str, **changes: Any) -> tuple[Job, Job]:
    """A job that is uploaded, and as it is once it is about to be paid for."""
    uploaded = a_job_in(S.UPLOADED, name).with_(**changes)
    return uploaded, moved(uploaded, S.SUBMITTING, START + 50.0)


async def _denied(store: JobStore, limits: Limits, name: str = "new", **changes: Any) -> Denied | None:
    uploaded, paid = _about_to_be_paid(name, **changes)
    await store.add(uploaded)
    denied = await store.submit(paid, S.UPLOADED, limits)

    assert await store.get(name) == (uploaded if denied else paid)
    return denied


@pytest.mark.parametrize(
    ("most", "inbox", "denied"), [(4, None, True), (5, None, False), (3, HERE.inbox, True), (4, HERE.inbox, False)]
)
async def test_no_more_is_paid_for_than_a_cap_allows_also_of_what_is_forgotten(
    store: JobStore, most: int, inbox: Path | None, denied: bool
) -> None:
    before = a_job_in(S.DONE, "before", at=START - 1000.0, closed=True)
    refused = moved(a_job_in(S.SUBMITTING, "refused"), S.UPLOADED, START + 9.0)
    await store.add(a_job_in(S.DONE, "forgotten", closed=True))
    assert await store.prune(START + 100.0) == 1
    for job in (before, refused, a_job_in(S.DONE, "over", closed=True), a_job_in(S.ACCEPTED, "open")):
        await store.add(job)
    await store.add(a_job_in(S.ACCEPTED, "elsewhere", folder=ELSEWHERE))
    cap = Cap(inbox=inbox, since=START, day="2027-01-15", most=most)
    wide = Cap(inbox=ELSEWHERE.inbox, since=START, day="2027-01-15", most=2)

    assert await _denied(store, Limits(caps=(wide, cap))) == (Denied(cap=cap) if denied else None)


async def test_no_more_images_are_generated_at_once_than_the_account_allows(store: JobStore) -> None:
    for state in (S.SUBMITTING, S.ACCEPTED, S.UNKNOWN, S.RENDERED, S.UPLOADED):
        await store.add(a_job_in(state, state.value, owner="another"))
    await store.add(a_job_in(S.UNKNOWN, "held", held=True))

    assert await _denied(store, Limits(in_flight=3)) == Denied(in_flight=True)
    assert await _denied(store, Limits(in_flight=4), "newer") is None


@pytest.mark.parametrize(
    ("changes", "denied"),
    [
        ({}, True),
        ({"state": S.DELIVERED}, True),
        ({"closed": True}, False),
        ({"held": True}, False),
        ({"state": S.UPLOADED}, False),
        ({"reused_from": "earlier"}, False),
        ({"offsets": Offsets(top=1)}, False),
        ({"source": a_source(sha256="99" * 32)}, False),
        ({"folder": a_snapshot(duplicates=Duplicates.EXPAND)}, False),
    ],
)
async def test_the_same_bytes_are_not_paid_for_while_their_result_is_to_come(
    store: JobStore, changes: dict[str, Any], denied: bool
) -> None:
    facts: dict[str, Any] = {"source": a_source(sha256="cd" * 32), "folder": a_snapshot(duplicates=Duplicates.REUSE)}
    await store.add(a_job_in(S.ACCEPTED, "other").with_(**{**facts, **changes}))

    assert await _denied(store, Limits(unique=True), **facts) == (Denied(duplicate="other") if denied else None)
    assert await _denied(store, Limits(), "newer", **facts) is None


async def test_a_job_that_is_not_ours_any_more_is_not_paid_for(store: JobStore) -> None:
    uploaded, paid = _about_to_be_paid("job-1")
    await store.add(uploaded)
    with pytest.raises(StaleJob):
        await store.submit(paid.with_(epoch=1), S.UPLOADED, Limits())

    assert await store.get("job-1") == uploaded


async def test_a_budget_holds_however_many_spend_it_at_once(place: Place) -> None:
    hosts = [place.open() for _ in range(4)]
    jobs = [_about_to_be_paid(f"{number:03d}") for number in range(140)]
    await asyncio.gather(*(hosts[0].add(uploaded) for uploaded, _ in jobs))
    limits = Limits(caps=(Cap(inbox=None, since=START, day="2027-01-15", most=100),))
    outcomes = await asyncio.gather(
        *(hosts[number % 4].submit(paid, S.UPLOADED, limits) for number, (_, paid) in enumerate(jobs))
    )

    assert outcomes.count(None) == 100
    assert _by_inbox(await hosts[0].spent(JANUARY)) == {HERE.inbox: 100}


def _by_inbox(spent: Sequence[Spent]) -> dict[Path, int]:
    counts: Counter[Path] = Counter()
    for one in spent:
        counts[one.inbox] += one.images
    return dict(counts)


async def test_a_duplicate_is_the_youngest_done_job_of_the_same_bytes_and_offsets(store: JobStore) -> None:
    source = a_source(sha256="cd" * 32)
    await store.add(a_job_in(S.DONE, "1", source=source, closed=True))
    await store.add(a_job_in(S.DONE, "2", source=source, closed=True))
    await store.add(a_job_in(S.ACCEPTED, "3", source=source))
    await store.add(a_job_in(S.DONE, "4", source=source, offsets=Offsets(top=1), closed=True))
    await store.add(a_job_in(S.DONE, "5", source=a_source(sha256="ef" * 32), closed=True))
    reused_from = await store.reused_from(a_job("6", source=source))

    assert reused_from is not None
    assert reused_from.id == "2"
    assert await store.reused_from(a_job("7", source=a_source(sha256="99" * 32))) is None


async def test_bytes_that_a_folder_has_paid_for_are_found_whatever_the_offsets_were(store: JobStore) -> None:
    source = a_source(sha256="cd" * 32)
    await store.add(a_job_in(S.DONE, "1", source=source, offsets=Offsets(top=1), closed=True))
    await store.add(a_job_in(S.DONE, "2", source=source, folder=a_snapshot(Path("/other")), closed=True))
    await store.add(a_job_in(S.DONE, "3", source=source, reused_from="1", closed=True))
    await store.add(a_job_in(S.ACCEPTED, "4", source=source))
    found = await store.paid_here(a_job("5", source=source))

    assert found is not None
    assert found.id == "1"
    assert await store.paid_here(a_job("6", source=a_source(sha256="99" * 32))) is None


async def test_a_store_of_the_first_format_is_read_with_all_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(":memory:")) as second:
        second.executescript(OLD.read_text())
        STEPS[0](old)
        names = ", ".join(f'"{row[1]}"' for row in old.execute("PRAGMA table_info(jobs)"))
        row = second.execute(f"SELECT {names} FROM jobs WHERE id = 'in-accepted'").fetchone()
        old.execute(f"INSERT INTO jobs ({names}) VALUES ({', '.join('?' * len(row))})", row)
        old.execute("INSERT INTO decisions (job, verdict) VALUES ('job-1', 'not-paid')")
        old.execute("PRAGMA user_version = 1")
        old.commit()
    with closing(SqliteJobStore(path)) as store:
        assert list(await store.open_jobs()) == [a_job_in(S.ACCEPTED, "in-accepted", relative=Path("picture.png"))]
        assert [(command.verb, command.job_id) for command in await store.commands()] == [(Verb.NOT_PAID, "job-1")]


OLD = Path(__file__).parent / "old" / "journal_of_format_2.sql"
"""What the version before wrote: a job in each state, and some that have gone other ways."""

COUNTED_OF_OLD = {
    **dict.fromkeys(("in-accepted", "in-rendered", "in-vaulted", "in-delivered", "in-done"), Outcome.TAKEN),
    **dict.fromkeys(("resolved-as-paid", "failed-at-api", "no-result-for-a-day"), Outcome.TAKEN),
    **dict.fromkeys(("in-intent", "in-unknown"), Outcome.SENT),
}


THIRD = OLD.with_name("journal_of_format_3.sql")
"""The same jobs and payments, with a command that nobody has carried out and two holds, in the words of that time."""


async def test_the_third_format_is_taken_over_in_the_words_of_today(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(THIRD.read_text())
        states = dict(old.execute("SELECT id, state FROM jobs"))
    with closing(SqliteJobStore(path)) as store:
        jobs = [await store.get(job_id) for job_id in states]
        commands, holds = await store.commands(), await store.holds()
    backup = tmp_path / "journal.sqlite.format-3"
    with closing(sqlite3.connect(backup)) as kept:
        assert dict(kept.execute("SELECT id, state FROM jobs")) == states
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600

    today = {"intent": S.SUBMITTING, "vaulted": S.DOWNLOADED, "withdrawn": S.RETURNED}
    assert {job.id: job.state for job in jobs if job} == {
        name: today.get(state) or S(state) for name, state in states.items()
    }
    assert all(job and job.state in [change.state for change in job.state_changes] for job in jobs)
    assert [job.reused_from for job in jobs if job and job.reused_from] == ["in-done"]
    assert [(one.verb, one.at, one.job_id) for one in commands] == [(Verb.RETRY, 1700000002.25, "in-failed")]
    assert [(one.kind, one.inbox, one.sha256) for one in holds] == [
        (HoldKind.PAUSED, Path("/srv/expand/shop/inbox"), ""),
        (HoldKind.AGAIN, None, "ab" * 32),
    ]


FOURTH = OLD.with_name("journal_of_format_4.sql")
"""The last with a column for each fact: a job in each state, one that knows everything and one that knows nothing."""

ODD = Path(os.fsdecode(b"caf\xe9/\xe6\x97\xa5 \xff.png"))
EVERYTHING = Job(
    id="everything",
    folder=a_snapshot(
        Path("/srv") / ODD,
        name="{stem}-é{ext}",
        preset_name='w"ide\n',
        originals=Originals.DELETE,
        duplicates=Duplicates.REUSE,
        sidecar=True,
    ),
    relative=ODD,
    source=Source(
        identity=FileIdentity(2**64 - 1, 2**64 - 2, 2**40, -(2**62)),
        format=ImageFormat.WEBP,
        size=Size(7, 9),
        orientation=6,
        sha256="cd" * 32,
    ),
    state=S.DONE,
    owner="host-a",
    epoch=3,
    offsets=Offsets(top=-1, bottom=2, left=-3, right=4),
    image_id="image ü",
    task_id="task",
    link="https://links.example/a?b=c",
    notifications=(7, 2**40),
    result=a_result(format=ImageFormat.JPEG, size=Size(3, 4)),
    target=Path("/out") / ODD,
    archived_to=Path("/done") / ODD,
    fault=Fault(FaultCode.NOT_WHOLE, 'a "message"\n', "do"),
    held=True,
    note="a note",
    attempts=1,
    tries=2,
    uploads=3,
    strikes=4,
    reused_from="in-done",
    duplicate_of="in-delivered",
    closed=True,
    state_changes=(StateChange(S.CLAIMED, 1800000000.123), StateChange(S.DONE, 1800000001.4567891)),
    payments=(
        Payment(1800000000.125, Outcome.REFUSED),
        Payment(1800000000.25, Outcome.NOT_MADE),
        Payment(1800000000.5, Outcome.TAKEN),
    ),
)


def _by_columns(path: Path, columns: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT {columns} FROM jobs ORDER BY id").fetchall()


async def test_fourth_format_is_migrated_with_every_fact(
    tmp_path: Path,
) -> None:
    path, anew = tmp_path / "journal.sqlite", tmp_path / "anew.sqlite"
    jobs = [*(a_job_in(state, f"in-{state.value}") for state in S), EVERYTHING]
    jobs.append(a_job("nothing-known", source=Source(identity=FileIdentity(1, 2, 0, 0)), offsets=Offsets()))
    with closing(sqlite3.connect(path)) as old:
        old.executescript(FOURTH.read_text())
    with closing(SqliteJobStore(path)) as store, closing(SqliteJobStore(anew)) as new:
        found = [await store.get(job.id) for job in jobs]
        await new.open_jobs()
        with closing(sqlite3.connect(anew)) as names_are_shared:
            names_are_shared.executescript("DROP INDEX open_target; DROP INDEX open_resting")
        for job in jobs:
            await new.add(job)
        again = await store.reused_from(EVERYTHING.with_(id="another"))
        commands, holds, spent = await store.commands(), await store.holds(), await store.spent(JANUARY)

    assert found == jobs
    assert again == EVERYTHING
    columns = ", ".join(f'"{row[1]}"' for row in _columns(path) if row[1] not in {"facts", "shares"})
    assert _by_columns(path, columns) == _by_columns(anew, columns)
    assert [(one.verb, one.job_id) for one in commands] == [(Verb.RETRY, "in-failed")]
    assert [one.kind for one in holds] == [HoldKind.PAUSED, HoldKind.AGAIN]
    assert sum(one.images for one in spent) == sum(paid.counts for job in jobs for paid in job.payments)


def _columns(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA table_info(jobs)").fetchall()


def _spoilt(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE jobs SET facts = {change}")
        connection.commit()


async def test_stored_job_with_missing_and_unknown_fields_is_read(
    open_sqlite: Callable[[], SqliteJobStore], tmp_path: Path
) -> None:
    store = open_sqlite()
    await store.add(a_job(strikes=2, note="why"))
    _spoilt(tmp_path / "journal.sqlite", "json_insert(json_remove(facts, '$.strikes'), '$.later', 7)")

    assert await store.get("job-1") == a_job(note="why")


@pytest.mark.parametrize(
    "change",
    [
        "'{'",
        "'[]'",
        "json_set(facts, '$.state', 'nowhere')",
        "json_set(facts, '$.place.originals', 'burn')",
        "json_set(facts, '$.tries', '3')",
        "json_set(facts, '$.tries', 3.5)",
        "json_set(facts, '$.held', 1)",
        "json_set(facts, '$.note', 7)",
        "json_set(facts, '$.target', 7)",
        "json_set(facts, '$.notifications', 7)",
        "json_set(facts, '$.stamps[0].at', 'noon')",
        "json_set(facts, '$.source.identity', NULL)",
        "json_remove(facts, '$.place.inbox')",
    ],
)
async def test_a_job_that_is_damaged_is_named_and_another_is_read(
    open_sqlite: Callable[[], SqliteJobStore], tmp_path: Path, change: str
) -> None:
    store = open_sqlite()
    await store.add(a_job())
    _spoilt(tmp_path / "journal.sqlite", change)
    await store.add(a_job("job-2"))

    with pytest.raises(DatabaseAway, match=r"damaged.* job-1"):
        await store.get("job-1")
    assert await store.get("job-2") == a_job("job-2")


async def test_fifth_format_is_migrated_with_names_that_two_jobs_share(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(OLD.with_name("journal_of_format_5.sql").read_text())
    with closing(SqliteJobStore(path)) as store:
        first, second = await store.open_jobs()
        await store.save(first.with_(note="written"), S.DELIVERED)
        await store.save(second.with_(note="written"), S.DELIVERED)
        with pytest.raises(NameTaken):
            await store.add(a_job(target=first.target))
    with reading(path) as found:
        assert found is not None
        assert (first.id, second.id) == ("first", "second")
        assert found.dismissed() == [(first.folder.inbox, Path("/srv/hot/error/a.png"))]
        assert _by_columns(path, "called")[0][0] == "image.png"
        assert _by_columns(path, "called")[3][0] == "ärger.png\n/srv/hot/outbox/image.png"


async def test_no_two_open_jobs_have_one_path_for_what_they_leave(store: JobStore) -> None:
    target, archived_to = Path("/out/image.png"), Path("/done/image.png")
    await store.add(a_job("0001", target=target, archived_to=archived_to))
    await store.add(a_job("0002"))
    for changes in ({"target": target}, {"archived_to": archived_to}):
        with pytest.raises(NameTaken):
            await store.save(a_job("0002", **changes), S.CLAIMED)
    # One that is over keeps nobody from its names, and what changes of its own is its own.
    await store.save(a_job("0001", target=target, archived_to=archived_to, closed=True), S.CLAIMED)
    await store.save(a_job("0002", target=target, archived_to=archived_to), S.CLAIMED)
    await store.save(a_job("0002", target=target, archived_to=archived_to, note="why"), S.CLAIMED)

    assert await store.get("0002") == a_job("0002", target=target, archived_to=archived_to, note="why")


OLD_RECORD = json.loads(OLD.with_name("record_of_format_4.json").read_text())
"""What lay beside the file of the job that knows everything."""


def _read_record(facts: dict[str, Any]) -> Job | None:
    return read(json.dumps(facts).encode(), "everything")


def test_json_of_a_job_keeps_the_names_that_older_versions_read() -> None:
    facts = json.loads(written(EVERYTHING))

    assert {"place", "resting", "stamps"} <= facts.keys()
    assert not {"folder", "archived_to", "state_changes"} & facts.keys()
    assert _read_record(facts) == EVERYTHING


def test_a_record_with_a_fact_for_each_column_is_read() -> None:
    state_changes = (EVERYTHING.state_changes[0], StateChange(S.DONE, 1800000001.456789))

    assert _read_record(OLD_RECORD) == EVERYTHING.with_(state_changes=state_changes)


def test_a_record_in_the_words_of_earlier_versions_is_read() -> None:
    facts = {**OLD_RECORD, "state": "vaulted", "stamps": '[["intent", 2.0], ["vaulted", 3.0]]', "twin": "first"}
    del facts["reused_from"]
    state_changes = (StateChange(S.SUBMITTING, 2.0), StateChange(S.DOWNLOADED, 3.0))

    assert _read_record(facts) == EVERYTHING.with_(state=S.DOWNLOADED, state_changes=state_changes, reused_from="first")


def test_a_record_that_is_older_than_payments_tells_of_one() -> None:
    later = ("duplicates", "sidecar", "reused_from", "duplicate_of", "strikes", "payments")
    older = {name: value for name, value in OLD_RECORD.items() if name not in later}
    found = _read_record({**older, "stamps": '[["claimed", 1.0], ["intent", 2.0004]]'})

    assert found is not None
    assert found.payments == (Payment(2.0, Outcome.SENT),)
    assert (found.folder.duplicates, found.reused_from, found.strikes) == (Duplicates.EXPAND, "", 0)


async def test_the_payments_of_the_second_format_are_taken_over_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    query = "SELECT inbox, day, sum(paid), sum(unknown) FROM ledger_lines GROUP BY inbox, day"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(OLD.read_text())
        jobs = [row[0] for row in old.execute("SELECT id FROM jobs")]
        lines = old.execute(query).fetchall()
    for _ in ("migrated", "opened again"):
        with closing(SqliteJobStore(path)) as store:
            known = [await store.get(job_id) for job_id in jobs]
            spent = await store.spent(JANUARY)

        assert {job.id: job.payments[-1].outcome for job in known if job and job.payments} == COUNTED_OF_OLD
        assert sum(one.images for one in spent) == len(COUNTED_OF_OLD)
        assert all(job and job.spent_at in {None, job.entered(S.SUBMITTING)} for job in known)
    with closing(sqlite3.connect(path)) as now:
        assert now.execute(query).fetchall() == lines


async def test_only_closed_jobs_are_forgotten_and_only_old_ones(store: JobStore) -> None:
    jobs = [
        a_job_in(S.DONE, "old", at=1_000.0, closed=True),
        a_job_in(S.DONE, "young", at=9_000.0, closed=True),
        a_job_in(S.UNKNOWN, "open", at=1_000.0),
    ]
    for job in jobs:
        await store.add(job)
    forgotten = await store.prune(5_000.0)

    assert forgotten == 1
    assert await store.get("old") is None
    assert await store.get("young") is not None
    assert await store.get("open") is not None
