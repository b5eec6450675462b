"""The steering commands on the command line: their arguments. Their work is imported when they run."""

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
    """Try once more what is in error or retrying.

    Files in the error folder go back into their inbox, and what is retrying goes on at once. WHAT is a hot folder, by
    its own directory or any of its four, or a file by any name or path it has or had.

    What fails again is not paid for; what works is paid for once. Moving a file from the error folder back into the
    inbox by hand does the same.
    """
    return _command(Verb.RETRY, what, config, everything=everything)


@command(WHAT, ALL, YES, CONFIG, by_owner=True)
def redo(what: str | None, config: Path, *, everything: bool, yes: bool) -> int:
    """Expand again what is done, and PAY FOR IT AGAIN.

    It says how many images that is, and asks first.

    The originals must still be in the done folder. The new results lie beside the old ones, under names of their own.
    """
    return _command(Verb.REDO, what, config, everything=everything, yes=yes)


@command(WHAT, ALL, YES, CONFIG, by_owner=True)
def cancel(what: str | None, config: Path, *, everything: bool, yes: bool) -> int:
    """Send to the error folder what is not paid for yet.

    What may be paid for already is delivered.

    Of a folder that is all that lies in its inbox now; asks first.
    """
    return _command(Verb.CANCEL, what, config, everything=everything, yes=yes)


@command(WHAT, CONFIG, by_owner=True)
def pause(what: str | None, config: Path) -> int:
    """Begin nothing new, until `expandd resume`.

    Of WHAT, a hot folder or a file, or of everything. What is paid for is still delivered.

    A file or folder named PAUSE in an inbox pauses that hot folder too, for as long as it lies there.
    """
    return _command(Verb.PAUSE, what, config)


@command(WHAT, CONFIG, by_owner=True)
def resume(what: str | None, config: Path) -> int:
    """Go on with what was paused: WHAT, or everything."""
    return _command(Verb.RESUME, what, config)


@command(WHAT, CONFIG, by_owner=True)
def release(what: str | None, config: Path) -> int:
    """Let files go on that the burst guard holds.

    Those of the hot folder WHAT, or all.
    """
    return _command(Verb.RELEASE, what, config)


@command(
    click.argument("file", type=Name()),
    click.option("--paid/--not-paid", "paid", required=True, default=None, help="What you found out."),
    CONFIG,
    by_owner=True,
)
def resolve(file: str, *, paid: bool, config: Path) -> int:
    """Say whether FILE was paid for, when only you can tell.

    For an image that `expandd status` says needs you: the answer to its paid call was lost, and the API does not
    tell. Look into your account there. --paid sends it to the error folder with a note, and nothing more is paid;
    --not-paid pays for it and expands it as if it were new.
    """
    from expandd.service.control import run_resolve

    return run_resolve(file, Verb.PAID if paid else Verb.NOT_PAID, config)


@command(CONFIG, by_owner=True)
def reload(config: Path) -> int:
    """Have the daemon take a changed configuration.

    It waits for what the daemon makes of it. Exit code 0 says that all is in force; 78 that it was refused, with every
    error, or that all is taken but keys that only a restart changes, with their names.
    """
    from expandd.service.control import run_reload

    return run_reload(config)


VERBS = (reload, retry, redo, cancel, pause, resume, release, resolve)
