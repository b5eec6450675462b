"""Owns the proof that reports and commands ask the job database that is configured, also where that is Postgres."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from expandd.adapters.config.load import keep_loaded
from expandd.adapters.files.scan import FolderCounter
from expandd.adapters.lean_import import absent
from expandd.adapters.store import database
from expandd.adapters.store.postgres.job_store import PostgresJobStore
from expandd.domain.commands import Verb
from expandd.domain.errors import ConfigurationError
from expandd.domain.job import JobState
from expandd.service.cli.cli import cli
from expandd.service.reports.overview import build_overview
from tests.support.configurations import loaded
from tests.support.jobs import a_job_in, a_place
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
        await store.add(a_job_in(JobState.DONE, closed=True, place=a_place(tmp_path / "hot")))
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


def test_without_its_client_a_cluster_says_how_it_is_installed(tmp_path: Path) -> None:
    _address(tmp_path, "postgresql://u@h/jobs")
    settings = loaded(tmp_path, CLUSTER)
    with absent("expandd.adapters.store.postgres"), pytest.raises(ConfigurationError, match=r"expandd\[cluster\]"):
        database.opened(settings)
