"""Proves that reports and commands ask the job database that is configured, also where that is Postgres."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from expandd.adapters.config.load import keep_loaded, load
from expandd.adapters.files.scan import FolderCounter
from expandd.adapters.lean_import import absent
from expandd.adapters.store import database
from expandd.adapters.store.postgres.job_store import PostgresJobStore
from expandd.adapters.store.postgres.schema import VERSION
from expandd.adapters.store.sqlite.job_store import open_store
from expandd.domain.commands import Verb
from expandd.domain.errors import ConfigurationError
from expandd.domain.job import JobState
from expandd.service.cli.cli import cli
from expandd.service.reports.overview import build_overview
from expandd.service.runtime import check
from tests.support.configurations import loaded
from tests.support.jobs import a_job_in, a_snapshot
from tests.support.postgres import Server

CLUSTER = "cluster: {database_file: database}"


def _address(base: Path, url: str) -> None:
    (base / "database").write_text(url)
    (base / "database").chmod(0o600)


async def test_reports_and_commands_go_to_the_database_that_hosts_share(postgres: Server, tmp_path: Path) -> None:
    url = postgres.database()
    _address(tmp_path, url)
    settings = loaded(tmp_path, CLUSTER)
    settings.state_dir.mkdir()
    with closing(PostgresJobStore(url)) as store:
        await store.add(a_job_in(JobState.DONE, closed=True, folder=a_snapshot(tmp_path / "hot")))
        overview = build_overview(settings, FolderCounter())
        # Not all of the file needs to be right: what the daemon loaded says where to ask.
        keep_loaded(tmp_path / "config.yaml", settings.state_dir)
        (tmp_path / "config.yaml").write_text((tmp_path / "config.yaml").read_text() + "workerz: 1\n")
        run = CliRunner().invoke(cli, ["pause", "--config", str(tmp_path / "config.yaml")])
        told = CliRunner().invoke(cli, ["ledger", "--config", str(tmp_path / "config.yaml"), "--json"])

        assert run.exit_code == 0, run.output
        assert [command.verb for command in await store.commands()] == [Verb.PAUSE]
    assert [job.id for job in overview.done] == ["job-1"]
    assert told.exit_code == 0, told.output
    assert not (tmp_path / "state" / "journal.sqlite").exists()


async def test_check_tells_how_the_shared_database_is(postgres: Server, tmp_path: Path) -> None:
    empty, url, config = postgres.database("template0"), postgres.database(), tmp_path / "config.yaml"
    loaded(tmp_path, CLUSTER)
    codes, told = [], []
    for address in (url, empty, "postgresql://u:s3cret@127.0.0.1:1/jobs"):
        _address(tmp_path, address)
        said: list[str] = []
        codes.append(await check.say_database(load(config), said.append))
        told.append(said)

    assert codes == [0, 78, 4]
    assert told[0][0].startswith("Job database: test_")
    assert told[0][0].endswith(f"tables of version {VERSION}.")
    assert "expandd cluster migrate" in told[1][1]
    assert "s3cret" not in told[2][0]
    made = CliRunner().invoke(cli, ["cluster", "migrate", "--config", str(config)])
    assert made.exit_code == 1
    _address(tmp_path, empty)
    made = CliRunner().invoke(cli, ["cluster", "migrate", "--config", str(config)])
    again = CliRunner().invoke(cli, ["cluster", "migrate", "--config", str(config)])
    assert (made.exit_code, again.exit_code) == (0, 0)
    assert "already" in again.output


def test_the_cluster_is_looked_after_also_where_its_share_is_away(postgres: Server, tmp_path: Path) -> None:
    _address(tmp_path, postgres.database())
    config = tmp_path / "config.yaml"
    config.write_text(f"{CLUSTER}\nstate_dir: state\nfolders: [{{root: away, offsets: {{top: 1}}}}]\n")
    for words, said in (
        (["migrate"], "already"),
        (["status"], "No host has worked"),
        (["drain", "gone"], "No host gone works"),
        (["bury", "gone"], "No host gone is missing"),
    ):
        run = CliRunner().invoke(cli, ["cluster", *words, "--config", str(config)])
        assert said in run.output, run.output


@pytest.mark.parametrize(("ahead", "lines"), [(0.2, 0), (-4.9, 0), (5.1, 1), (-9.0, 1)])
def test_hosts_whose_clocks_differ_must_set_them(ahead: float, lines: int) -> None:
    assert len(list(check.about_clock(ahead))) == lines


def test_what_is_taken_over_is_that_of_the_state_directory(postgres: Server, tmp_path: Path) -> None:
    _address(tmp_path, postgres.database())
    settings = loaded(tmp_path, CLUSTER)
    settings.state_dir.mkdir()
    open_store(settings.state_dir / "journal.sqlite").close()
    runs = [CliRunner().invoke(cli, ["cluster", "import", "--config", str(tmp_path / "config.yaml")]) for _ in "12"]

    assert [run.exit_code for run in runs] == [0, 2]
    assert "Taken over: 0 jobs" in runs[0].output


def test_without_its_client_a_cluster_says_how_it_is_installed(tmp_path: Path) -> None:
    _address(tmp_path, "postgresql://u@h/jobs")
    settings = loaded(tmp_path, CLUSTER)
    with (
        absent("expandd.adapters.store.postgres.job_store"),
        pytest.raises(ConfigurationError, match=r"expandd\[cluster\]"),
    ):
        database.reading(settings)
