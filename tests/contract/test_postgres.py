"""What only a server can do to a job database: end, come back, swallow everything, be of another version."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest

from expandd.adapters.store.postgres.connection import PostgresConnection
from expandd.adapters.store.postgres.job_store import PostgresChanges, PostgresDatabase, PostgresJobStore, reading
from expandd.adapters.store.postgres.schema import PAUSE, STEPS, VERSION, migrate, version
from expandd.adapters.store.sql.changes import Changes
from expandd.domain.commands import Hold, HoldKind
from expandd.domain.errors import DatabaseAway, RowRefused
from expandd.domain.job import Job, JobState, moved
from expandd.domain.spending import Limits
from tests.support.jobs import a_job, a_job_in
from tests.support.postgres import Server, running, wire

S = JobState


@pytest.fixture
def own_server() -> Iterator[Server]:
    """One that may be stopped."""
    with running() as server:
        yield server


async def test_a_server_that_ended_is_away_and_all_goes_on_when_it_is_back(own_server: Server) -> None:
    with closing(PostgresJobStore(own_server.database())) as store:
        await store.add(a_job())
        own_server.stop()
        with pytest.raises(DatabaseAway, match="goes on by itself"):
            await store.save(moved(a_job(), S.UPLOADED, 2.0), S.CLAIMED)
        own_server.start()
        await store.save(moved(a_job(), S.UPLOADED, 2.0), S.CLAIMED)
        # One that came back before anybody looked was never away.
        own_server.stop()
        own_server.start()

        assert [job.state for job in await store.open_jobs()] == [S.UPLOADED]


async def test_silent_network_is_noticed(postgres: Server) -> None:
    url = postgres.database()
    with wire(postgres, url) as way, closing(PostgresJobStore(way.url, patience=0.3)) as store:
        await store.add(a_job())
        way.cut.set()
        with pytest.raises(DatabaseAway, match=r"has not answered for 0\.3 s"):
            await store.open_jobs()
        way.cut.clear()

        assert [job.id for job in await store.open_jobs()] == ["job-1"]


async def test_tables_that_change_under_way_cost_one_try_at_most(postgres: Server) -> None:
    url = postgres.database()
    with closing(PostgresJobStore(url)) as store:
        await store.add(a_job())
        # So often that the client has prepared it.
        for _ in range(8):
            await store.get("job-1")
        with closing(PostgresConnection(url)) as other:
            other.execute(
                "DROP VIEW whole_jobs; CREATE VIEW whole_jobs AS SELECT id, "
                "left(settled, -1) || ',' || substr(facts, 2) AS facts, '[]'::varchar AS payments FROM jobs"
            )
        with contextlib.suppress(DatabaseAway):
            await store.get("job-1")

        assert await store.get("job-1") == a_job()


async def test_host_frozen_in_a_transaction_blocks_others_only_for_a_while(
    postgres: Server,
) -> None:
    url = postgres.database()
    uploaded = moved(a_job(), S.UPLOADED, 2.0)
    with closing(PostgresConnection(url, patience=0.4)) as frozen, closing(PostgresJobStore(url)) as store:
        await store.add(uploaded)
        frozen.execute("BEGIN")
        assert frozen.lock_spending()

        assert await store.submit(moved(uploaded, S.SUBMITTING, 3.0), S.UPLOADED, Limits()) is None


async def test_two_that_wait_for_each_other_both_get_their_way(postgres: Server) -> None:
    url = postgres.database()
    with closing(PostgresJobStore(url)) as store, closing(PostgresConnection(url)) as other:
        await store.add(a_job("a"))
        await store.add(a_job("b"))
        other.execute("BEGIN; UPDATE jobs SET held = 0 WHERE id = 'b'")
        # In one group, and so in one transaction.
        writing = asyncio.gather(*(store.save(moved(a_job(name), S.UPLOADED, 2.0), S.CLAIMED) for name in "ab"))
        await asyncio.sleep(0)
        await asyncio.to_thread(_until_somebody_waits, url)
        # The server finds that, and ends one of the two.
        await asyncio.to_thread(_tried, other)
        await writing

        assert {job.state for job in await store.open_jobs()} == {S.UPLOADED}


def _until_somebody_waits(url: str) -> None:
    with closing(PostgresConnection(url)) as looking:
        while not looking.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()[0]:  # type: ignore[index]  # a count has a row
            time.sleep(0.02)


def _tried(other: PostgresConnection) -> None:
    try:
        other.execute("UPDATE jobs SET held = 0 WHERE id = 'a'")
        other.execute("COMMIT")
    except psycopg.errors.DeadlockDetected:
        other.execute("ROLLBACK")


async def test_a_hold_that_another_host_sets_is_noticed_once_and_ones_own_is_none(postgres: Server) -> None:
    url = postgres.database()
    hold = Hold(kind=HoldKind.PAUSED, at=1.0)
    with closing(PostgresJobStore(url)) as mine, closing(PostgresJobStore(url)) as others:
        await mine.set_hold(hold)
        assert not await mine.holds_changed()
        await others.lift_hold(hold)
        assert await mine.holds_changed()
        assert list(await mine.holds()) == []
        assert not await mine.holds_changed()


def test_tables_are_made_once_by_whoever_comes_first(postgres: Server) -> None:
    url = postgres.database("template0")

    def make(_: int) -> tuple[int, int]:
        with closing(PostgresConnection(url)) as connection:
            return migrate(connection)

    with pytest.raises(DatabaseAway, match="expandd cluster migrate"), reading(url):
        pass
    with ThreadPoolExecutor(4) as threads:
        found = sorted(threads.map(make, range(4)))

    assert found == [(0, VERSION), *[(VERSION, VERSION)] * 3]
    with reading(url) as store:
        assert store.open_jobs() == []


def test_tables_that_a_backup_reads_are_brought_up_to_date_after_it(postgres: Server) -> None:
    url = postgres.database("template0")
    with closing(PostgresConnection(url)) as connection, closing(PostgresConnection(url)) as backup:
        _make_second(connection)
        backup.execute("BEGIN")
        backup.execute("SELECT 1 FROM jobs")
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 2:
                backup.execute("COMMIT")

        assert migrate(connection, pause) == (2, VERSION)
    assert pauses == [PAUSE, PAUSE]


def _make_second(connection: PostgresConnection) -> None:
    """Make the tables of version 2."""
    for statements in STEPS[:2]:
        connection.execute(statements)
    connection.execute("CREATE TABLE expandd_schema (version INTEGER NOT NULL)")
    connection.execute("INSERT INTO expandd_schema VALUES (2)")


async def test_an_id_is_that_of_one_job_open_or_over(postgres: Server) -> None:
    with closing(PostgresJobStore(postgres.database())) as store:
        await store.add(a_job_in(S.DONE, "job-1", closed=True))
        with pytest.raises(RowRefused):
            await store.add(a_job_in(S.CLAIMED, "job-1"))


_ODD = Path(os.fsdecode(b"caf\xe9/image.png"))


def test_the_jobs_of_earlier_tables_are_taken_over_and_go_on(postgres: Server) -> None:
    jobs = [a_job_in(state, state.value, target=Path(f"/out/{state.value}"), relative=_ODD) for state in S]
    jobs.append(a_job_in(S.DONE, "closed", closed=True, relative=_ODD))
    with closing(PostgresConnection(postgres.database("template0"))) as connection:
        _make_second(connection)
        for job in jobs:
            Changes(connection).add(job)
        assert migrate(connection) == (2, VERSION)
        changes = PostgresChanges(connection)

        assert [changes.job(job.id) for job in jobs] == jobs
        for job in jobs:
            noted = job.with_(note="it goes on")
            changes.save(noted, job.state)
            assert changes.job(job.id) == noted


def test_a_host_of_the_version_before_goes_on_beside(postgres: Server) -> None:
    job = a_job(relative=_ODD)
    uploaded = moved(job, S.UPLOADED, 2.0, image_id="image", note="slow")
    submitting = moved(uploaded, S.SUBMITTING, 3.0)
    with closing(PostgresConnection(postgres.database())) as connection:
        earlier, later = Changes(connection), PostgresChanges(connection)
        later.add(job)
        for changes, after, before in ((earlier, uploaded, S.CLAIMED), (later, submitting, S.UPLOADED)):
            changes.save(after, before)
            assert earlier.job(job.id) == later.job(job.id) == after


def test_what_is_not_written_of_a_job_is_so_by_default(postgres: Server) -> None:
    plain = Job(id="job-1", folder=a_job().folder, relative=Path("image.png"), source=a_job().source)
    told = plain.with_(**{field.name: type(field.default)() for field in fields(Job) if field.default in ("", 0, ())})
    with closing(PostgresConnection(postgres.database())) as connection:
        PostgresChanges(connection).add(told)

        assert PostgresChanges(connection).job("job-1") == told == plain


def test_most_changes_of_a_job_touch_neither_an_index_nor_another_page(postgres: Server) -> None:
    with closing(PostgresConnection(postgres.database())) as connection:
        changes, jobs = PostgresChanges(connection), [a_job_in(S.UPLOADED, f"job-{number}") for number in range(20)]
        for job in jobs:
            changes.add(job)
        for job in jobs:
            submitting = moved(job, S.SUBMITTING, 9.0)
            accepted = moved(submitting, S.ACCEPTED, 10.0, task_id="task")
            rendered = moved(accepted, S.RENDERED, 11.0, link="https://links.example/" + 80 * "x")
            for before, after in pairwise((job, submitting, accepted, rendered)):
                changes.save(after, before.state)
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'jobs_open'"
        ).fetchone()

    assert row is not None
    assert (row[0], row[1]) == (60, 60)


async def test_beside_newer_tables_work_ends_and_none_is_paid_for(postgres: Server) -> None:
    url = postgres.database()
    with closing(PostgresConnection(url)) as connection:
        connection.execute("UPDATE expandd_schema SET version = version + 1")
        with pytest.raises(DatabaseAway, match="newer"):
            migrate(connection)
        assert version(connection) == VERSION + 1
        connection.execute("BEGIN")
        assert not connection.lock_spending()
    with closing(PostgresJobStore(url)) as store:
        await store.add(a_job())

        assert [job.id for job in await store.open_jobs()] == ["job-1"]


def test_no_failure_shows_the_password() -> None:
    database = PostgresDatabase("postgresql://expandd:s3cret@127.0.0.1:1/jobs")
    with pytest.raises(psycopg.OperationalError) as failed:
        database.connected()

    assert "s3cret" not in str(database.away(failed.value))
    assert "127.0.0.1" in str(database.away(failed.value))
