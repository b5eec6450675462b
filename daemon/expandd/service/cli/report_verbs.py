"""The reading commands on the command line: none of them pays or changes anything."""

# ruff: noqa: PLC0415 - `expandd --help` must not wait for an HTTP client, a validator and an image library

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import click

from expandd.service.cli.verbs import CONFIG, JSON, Name, act_as_owner, command, presets


@command(CONFIG, click.option("--offline", is_flag=True, help="Only the configuration and its folders; no network."))
def check(config: Path, *, offline: bool) -> int:
    """Check configuration, folders, login, credits and clock.

    It names every error of the configuration at once, each with its line. It starts nothing and pays nothing. Exit
    code 4 means that the API cannot be reached just now, 78 that something must be corrected.

    Called by root, it works as the service's user, with the login that systemd hands to the service.
    """
    from expandd.adapters.credentials import handed_over
    from expandd.service.runtime.entry import run_check

    # Before root's rights are dropped, because the service's user cannot read the file.
    by_hand = os.geteuid() == 0 and not offline and "CREDENTIALS_DIRECTORY" not in os.environ
    login = handed_over(config) if by_hand else None
    act_as_owner(config)
    return run_check(config, os.environ, offline=offline, login=login)


@command(
    CONFIG,
    JSON,
    click.option("--watch", "-w", is_flag=True, help="Show it again and again, until Ctrl-C."),
    click.option(
        "--every",
        type=click.FloatRange(min=0.2),
        default=2.0,
        show_default=True,
        help="Seconds between two, with --watch.",
    ),
    by_owner=True,
)
def status(config: Path, *, as_json: bool, watch: bool, every: float) -> int:
    """Show the state of everything: pauses, files, money, pace.

    It shows each pause with its start and its remedy; files that wait, are in progress, done and in error, by folder;
    money, credits and budgets; the pace, and when the backlog will be done; and the images that need a person.

    It works while the daemon runs and when it does not, and changes nothing. A terminal shows a table, which --watch
    keeps up to date; otherwise there is a line for each fact, or with --json one JSON object.
    """
    from expandd.service.reports.status import show_status

    return show_status(config, as_json=as_json, watch=watch, every=every)


@command(CONFIG, JSON, by_owner=True)
def plan(config: Path, *, as_json: bool) -> int:
    """Show the planned outcome and cost of each waiting file.

    Each line has offsets, size and name of the result, and whether the file is new, already paid for, or refused and
    why. It appears as soon as its file is inspected; totals, credits and time come last, estimated from earlier images.
    This pays nothing and changes nothing. With --json the output is one JSON document, written step by step.
    """
    from expandd.service.reports.plan import run_plan

    return run_plan(config, as_json=as_json)


@command(click.argument("file", type=Name()), CONFIG, JSON, by_owner=True)
def why(file: str, config: Path, *, as_json: bool) -> int:
    """Show the whole history of FILE, and what comes next.

    It shows every state with its time, sizes, offsets and ids, where original and result are now, and what the file
    waits for. FILE is any name or path that the file has or had: as it was dropped, in the inbox, work, done or error
    folder, that of its result, or the id of its job or image. For a file that is not picked up it names the rule that
    ignores it, or the time until it has settled. It works with and without a running daemon, and changes nothing.
    """
    from expandd.service.reports.why import run_why

    return run_why(file, config, as_json=as_json)


def _month(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """The month in the form YYYY-MM."""
    try:
        return value and datetime.strptime(value, "%Y-%m").strftime("%Y-%m")  # noqa: DTZ007 - a month has no zone
    except ValueError:
        raise click.BadParameter(f"A month is a year and a number, such as 2026-11; this is “{value}”.") from None


@command(
    CONFIG,
    click.option("--month", callback=_month, metavar="YYYY-MM", help="Only this month; by default all months."),
    click.option("--csv", "form", flag_value="csv", help="For spreadsheets."),
    click.option("--json", "form", flag_value="json", help="For machines."),
    click.option("--text", "form", flag_value="text", default=True, hidden=True),
    by_owner=True,
)
def ledger(config: Path, *, month: str | None, form: str) -> int:
    """Count what was paid, delivered, failed and saved.

    It counts by month and hot folder, as text, CSV or JSON.
    Saved images were not paid for again because the same image was paid for before. Days are local days; the counts
    remain after the job database has deleted the images themselves.
    """
    from expandd.service.reports.ledger import Form, run_ledger

    return run_ledger(config, month, Form(form))


@command(
    click.argument("image", type=click.Path(path_type=Path, exists=True, dir_okay=False)),
    click.argument("preset", shell_complete=presets),
    click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Where the PNG goes."),
    CONFIG,
)
def preview(image: Path, preset: str, output: Path | None, config: Path) -> int:
    """Draw what PRESET would add to IMAGE and cut from it. Pays nothing."""
    from expandd.service.preview.preview import run_preview

    return run_preview(image, preset, output, config)


VERBS = (status, why, plan, preview, ledger, check)
