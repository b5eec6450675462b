"""The steering commands on the command line: their arguments. Each imports its code when it runs."""

# ruff: noqa: PLC0415 - `expandd --help` must not wait for a database and a validator

from __future__ import annotations

from pathlib import Path

import click

from expandd.domain.commands import Verb
from expandd.service.cli.verbs import CONFIG, Name, command, inboxes

WHAT = click.argument("what", type=Name(), required=False, shell_complete=inboxes)
ALL = click.option("--all", "everything", is_flag=True, help="All hot folders.")
YES = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def _command(verb: Verb, what: str | None, config: Path, *, everything: bool = False, yes: bool = True) -> int:
    from expandd.service.control import carry_out_command

    if everything and what:
        raise click.UsageError("Name something, or say --all; not both.")
    if verb in {Verb.RETRY, Verb.REDO, Verb.CANCEL} and not everything and not what:
        raise click.UsageError("Name a file or a hot folder, or say --all.")
    return carry_out_command(verb, what, config, yes=yes)


@command(WHAT, ALL, CONFIG, by_owner=True)
def retry(what: str | None, config: Path, *, everything: bool) -> int:
    """Try files in error, and those that are retrying, again.

    Files in the error folder go back into their inbox, and files that are retrying go on at once. WHAT is a hot folder,
    named by any of its directories, or a file, named by any name or path that it has or had.

    A file that fails again is not paid for; one that works is paid for once. Moving a file from the error folder back
    into the inbox by hand does the same.
    """
    return _command(Verb.RETRY, what, config, everything=everything)


@command(WHAT, ALL, YES, CONFIG, by_owner=True)
def redo(what: str | None, config: Path, *, everything: bool, yes: bool) -> int:
    """Expand done files again, and PAY FOR THEM AGAIN.

    It says how many images these are, and asks first.

    The originals must still be in the done folder. The new results appear beside the old ones, with names of their own.
    """
    return _command(Verb.REDO, what, config, everything=everything, yes=yes)


@command(WHAT, ALL, YES, CONFIG, by_owner=True)
def cancel(what: str | None, config: Path, *, everything: bool, yes: bool) -> int:
    """Send unpaid files to the error folder.

    Files that may be paid for already are still delivered.

    For a folder it cancels all files in its inbox now, and asks first.
    """
    return _command(Verb.CANCEL, what, config, everything=everything, yes=yes)


@command(WHAT, CONFIG, by_owner=True)
def pause(what: str | None, config: Path) -> int:
    """Start no new files until `expandd resume`.

    WHAT is a hot folder or a file; without it everything is paused. Paid images are still delivered.

    A file or folder named PAUSE in an inbox also pauses that hot folder, until it is removed.
    """
    return _command(Verb.PAUSE, what, config)


@command(WHAT, CONFIG, by_owner=True)
def resume(what: str | None, config: Path) -> int:
    """End the pause of WHAT, or of everything."""
    return _command(Verb.RESUME, what, config)


@command(WHAT, CONFIG, by_owner=True)
def release(what: str | None, config: Path) -> int:
    """Let the files go on that the burst guard holds.

    It releases those of the hot folder WHAT, or all.
    """
    return _command(Verb.RELEASE, what, config)


@command(
    click.argument("file", type=Name()),
    click.option("--paid/--not-paid", "paid", required=True, default=None, help="What you found out."),
    CONFIG,
    by_owner=True,
)
def resolve(file: str, *, paid: bool, config: Path) -> int:
    """Say whether FILE was paid for, when only you can know.

    `expandd status` shows such an image as "needs you": the answer to its paid call was lost, and the API does not
    say what became of it. Check your account there. --paid sends the file to the error folder with a note, and nothing
    more is paid; --not-paid pays for it and expands it as if it were new.
    """
    from expandd.service.control import run_resolve

    return run_resolve(file, Verb.PAID if paid else Verb.NOT_PAID, config)


@command(CONFIG, by_owner=True)
def reload(config: Path) -> int:
    """Make the daemon load a changed configuration.

    It waits for the daemon's verdict. Exit code 0 means that all is in force; 78 that the configuration was refused,
    with every error, or that all is in force except keys that need a restart, with their names.
    """
    from expandd.service.control import run_reload

    return run_reload(config)


VERBS = (reload, retry, redo, cancel, pause, resume, release, resolve)
