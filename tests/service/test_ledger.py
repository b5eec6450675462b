"""The ledger, from a real job database, as people, spreadsheets and machines read it."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from pathlib import Path

from click.testing import CliRunner

from expandd.adapters.store.sqlite.job_store import SqliteJobStore
from expandd.domain.job import FolderSnapshot, JobState
from expandd.domain.settings import Settings
from expandd.service.cli.cli import cli
from tests.support.configurations import directories, loaded
from tests.support.jobs import a_job_in

S = JobState
OCTOBER, NOVEMBER = (datetime(2026, month, 15).astimezone().timestamp() for month in (10, 11))


async def a_house(base: Path) -> Settings:
    directories(base / "cold")
    settings = loaded(
        base, "state_dir: state\nfolders: [{root: hot, offsets: {top: 1}}, {root: cold, offsets: {top: 1}}]\n"
    )
    settings.state_dir.mkdir()
    hot, cold = (FolderSnapshot.of(folder) for folder in settings.folders)
    store = SqliteJobStore(settings.state_dir / "journal.sqlite")
    for job in (
        a_job_in(S.DONE, "job-1", at=OCTOBER, closed=True, folder=hot),
        a_job_in(S.DONE, "job-2", at=NOVEMBER, closed=True, folder=hot),
        a_job_in(S.FAILED, "job-3", at=NOVEMBER, closed=True, folder=hot),
        a_job_in(S.UNKNOWN, "job-4", at=NOVEMBER, folder=cold),
        a_job_in(S.DONE, "job-5", at=OCTOBER, closed=True, folder=cold),
    ):
        await store.add(job)
    # What the job database forgets of its images is still counted.
    await store.prune(OCTOBER + 3600)
    store.close()
    return settings


def told(base: Path, *options: str) -> str:
    outcome = CliRunner().invoke(cli, ["ledger", "--config", str(base / "config.yaml"), *options])
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


async def test_counts_are_by_month_and_folder_and_outlive_the_images(tmp_path: Path) -> None:
    await a_house(tmp_path)
    ledger = json.loads(told(tmp_path, "--json"))
    rows = {(row["month"], row["inbox"].removeprefix(f"{tmp_path}/")): row for row in ledger["rows"]}

    assert sorted(rows) == [
        ("2026-10", "cold/inbox"),
        ("2026-10", "hot/inbox"),
        ("2026-11", "cold/inbox"),
        ("2026-11", "hot/inbox"),
    ]
    assert rows["2026-11", "hot/inbox"]["paid"] == 1
    assert rows["2026-11", "hot/inbox"]["failed"] == 1
    assert rows["2026-11", "cold/inbox"]["unknown"] == 1
    assert ledger["in_all"] == {"paid": 4, "delivered": 3, "failed": 1, "unknown": 1, "saved": 0}


async def test_a_month_is_told_alone_in_every_form(tmp_path: Path) -> None:
    await a_house(tmp_path)
    rows = list(csv.DictReader(io.StringIO(told(tmp_path, "--csv", "--month", "2026-10"))))
    text = told(tmp_path, "--month", "2026-10")

    assert [(row["month"], row["paid"]) for row in rows] == [("2026-10", "1"), ("2026-10", "1")]
    assert "in all" in text
    assert "2026-11" not in text
    assert told(tmp_path, "--month", "2020-01").startswith("Nothing was paid")


async def test_where_a_price_is_configured_money_stands_beside_the_counts(tmp_path: Path) -> None:
    await a_house(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text() + "price: 0.20 EUR\n")
    in_all = json.loads(told(tmp_path, "--json"))["in_all"]
    rows = list(csv.DictReader(io.StringIO(told(tmp_path, "--csv"))))

    assert (in_all["paid"], in_all["cost"], in_all["currency"]) == (4, 0.8, "EUR")
    assert (rows[0]["cost"], rows[0]["currency"]) == ("0.20", "EUR")
    assert "0.80 EUR" in told(tmp_path)


def test_a_month_that_is_none_is_a_config_error_of_usage() -> None:
    assert CliRunner().invoke(cli, ["ledger", "--month", "October"]).exit_code == 2
