"""Owns the command line: verbs, options, exit codes. What a verb needs is imported when it is called."""

# ruff: noqa: PLC0415 - `expandd --help` must not wait for an HTTP client, a validator and an image library

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import click

from expandd import __version__
from expandd.service.cli_shared import CONFIG, JSON, VERBOSE, told
from expandd.service.cli_steering import STEERING
from expandd.service.completing import Shell, presets, script
from expandd.service.exit_codes import ExitCode


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="expandd")
def cli() -> None:
    """Drop images into folders; take them out expanded.

    Exit codes: 0 fine, 1 our fault, 2 usage, 3 some files went to error (once), 4 some files still wait (once),
    75 another instance is running, 78 configuration.
    """


@cli.command()
@CONFIG
@VERBOSE
@told
def run(config: Path, *, verbose: bool) -> int:
    """Watch the folders until SIGTERM or SIGINT."""
    from expandd.service.daemon import run_daemon

    return run_daemon(config, os.environ, verbose=verbose)


@cli.command()
@CONFIG
@VERBOSE
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds an outage may last before the files that wait are left for the next time (exit code 4).",
)
@told
def once(config: Path, *, verbose: bool, patience: float) -> int:
    """Expand everything that lies in the inboxes now, and wait for the results."""
    from expandd.service.daemon import run_batch

    return run_batch(config, os.environ, verbose=verbose, patience=patience)


@cli.command()
@CONFIG
@told
def check(config: Path) -> int:
    """Check the configuration, folders, login, credits and clock. Starts nothing, pays nothing."""
    from expandd.service.daemon import run_check

    return run_check(config, os.environ)


@cli.command()
@CONFIG
@JSON
@click.option("--watch", "-w", is_flag=True, help="Show it again and again, until Ctrl-C.")
@click.option(
    "--every", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="Seconds between two, with --watch."
)
@told
def status(config: Path, *, as_json: bool, watch: bool, every: float) -> int:
    """Show how it goes: what waits on what since when, what is in hand, done and in error, money, and the pace.

    It works while the daemon runs and when it does not, and changes nothing. With --watch a terminal shows a table
    that is kept up to date; anything else gets the same lines again, and with --json one JSON object a line.
    """
    from expandd.service.status import show_status

    return show_status(config, as_json=as_json, watch=watch, every=every)


@cli.command()
@CONFIG
@JSON
@told
def plan(config: Path, *, as_json: bool) -> int:
    """Say what would become of each waiting file: offsets, size and name of its result, and whether it is paid for.

    Each line is shown as soon as its file was looked into; totals, credits and time come last, estimated from what was
    done before. It pays nothing and changes nothing. With --json it is one JSON document, written as it goes.
    """
    from expandd.service.planning import run_plan

    return run_plan(config, as_json=as_json)


@cli.command()
@click.argument("file", type=click.Path())
@CONFIG
@JSON
@told
def why(file: str, config: Path, *, as_json: bool) -> int:
    """Tell the whole story of FILE: where it is, why, what comes next, and what that waits on.

    FILE is any name or path that the file has or had: as it was dropped, in the inbox, work, done or error folder, its
    result's, the id of its job or of its image. A file that is not picked up is told of too: which rule ignores it,
    or how long it still settles. It works while the daemon runs and when it does not, and changes nothing.
    """
    from expandd.service.why import run_why

    return run_why(file, config, as_json=as_json)


@cli.command()
@CONFIG
@click.option(
    "--month", type=click.DateTime(["%Y-%m"]), metavar="YYYY-MM", help="This month alone; all that is known by default."
)
@click.option("--csv", "form", flag_value="csv", help="For spreadsheets.")
@click.option("--json", "form", flag_value="json", help="For machines.")
@click.option("--text", "form", flag_value="text", default=True, hidden=True)
@told
def ledger(config: Path, *, month: datetime | None, form: str) -> int:
    """Count what was paid for, delivered, failed and saved, by month and hot folder.

    Saved are images that were not paid for again because the same picture was paid for before. Days are local days;
    counts are kept when the journal forgets the images themselves.
    """
    from expandd.service.bookkeeping import Form, run_ledger

    return run_ledger(config, month.strftime("%Y-%m") if month else None, Form(form))


@cli.command()
@CONFIG
@told
def rebuild(config: Path) -> int:
    """Begin a new journal after the old one was lost or damaged. Pays nothing."""
    from expandd.service.rebuilding import run_rebuild

    return run_rebuild(config)


@cli.command()
@CONFIG
@click.option("--instance", default="", metavar="NAME", help="For expandd@NAME.service.")
@told
def unit(config: Path, *, instance: str) -> int:
    """Print the systemd drop-in that opens the folders of the configuration to the service."""
    from expandd.service.unit import show_unit

    return show_unit(config, instance)


@cli.command()
@told
def schema() -> int:
    """Print the JSON Schema of the configuration, for editors."""
    from expandd.adapters.config.load import schema as text

    click.echo(text())
    return ExitCode.FINE


@cli.command()
@click.argument("shell", type=click.Choice([shell.value for shell in Shell]))
@told
def completion(shell: str) -> int:
    """Print what teaches SHELL to complete the verbs, their options, and the presets of the configuration.

    bash: put `eval "$(expandd completion bash)"` into ~/.bashrc, or the output into
    /etc/bash_completion.d/expandd for all users. zsh: the same in ~/.zshrc. fish: write the output to
    ~/.config/fish/completions/expandd.fish.
    """
    click.echo(script(cli, Shell(shell)))
    return ExitCode.FINE


@cli.command()
@click.argument("image", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("preset", shell_complete=presets)
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Where the PNG goes.")
@CONFIG
@told
def preview(image: Path, preset: str, output: Path | None, config: Path) -> int:
    """Draw what PRESET would add to IMAGE and cut from it. Pays nothing."""
    from expandd.service.previewing import run_preview

    return run_preview(image, preset, output, config)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8787, show_default=True, help="The port of the API.")
@click.option("--link-port", default=8788, show_default=True, help="The port of the result links.")
@click.option("--switch", "switches", multiple=True, metavar="NAME=VALUE", help="Change how it behaves; repeatable.")
@click.option("--fault", "faults", multiple=True, metavar="CALL:KIND[:OFTEN]", help="Make calls go wrong; repeatable.")
@click.option("--list", "listing", is_flag=True, help="List the switches and their defaults, and stop.")
@told
def simulate(
    *, host: str, port: int, link_port: int, switches: tuple[str, ...], faults: tuple[str, ...], listing: bool
) -> int:
    """Run the practice server: the whole API on this machine, nothing to pay.

    A fault is the call (upload, generate, poll, delete, history, me, login, refresh, link), the kind of fault (429,
    reset, reset-after, html, truncated, ...) and how often: a number of calls, always, or p=0.2.
    """
    from expandd.service.practising import describe_switches, run_simulate

    if listing:
        click.echo(describe_switches())
        return ExitCode.FINE
    return run_simulate(host, port, link_port, switches, faults)


@cli.command()
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep everything in this folder.")
@told
def demo(keep: Path | None) -> int:
    """Show the whole job on sample images, from drop to result, with no account."""
    from expandd.service.demo import run_demo

    return run_demo(keep)


for command in STEERING:
    cli.add_command(command)
