"""The command line: commands, options, help page. Each command imports its code when it runs."""

# ruff: noqa: PLC0415 - `expandd --help` must not wait for an HTTP client, a validator and an image library

from __future__ import annotations

import os
from pathlib import Path

import click

from expandd import __version__
from expandd.service.cli import command_verbs, report_verbs
from expandd.service.cli.cluster_verbs import cluster
from expandd.service.cli.verbs import CONFIG, INSTANCE, VERBOSE, Shell, command, script
from expandd.service.exit_codes import ExitCode

SECTIONS = {
    "Work": ("run", "once"),
    "Inspect": ("status", "why", "plan", "preview", "ledger", "check"),
    "Steer": ("pause", "resume", "release", "retry", "redo", "cancel", "resolve", "reload"),
    "Set up": ("install", "uninstall", "unit", "schema", "completion", "rebuild", "help"),
    "Share": ("cluster",),
    "Try out": ("demo", "simulate"),
}


class Sections(click.Group):
    """A group of verbs in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's own
        """Write the sections, each verb with the first sentence of its help page."""
        room = formatter.width - 6 - max(map(len, self.commands))
        for title, names in SECTIONS.items():
            known = [(name, self.commands[name]) for name in names if name in self.commands]
            if known:
                with formatter.section(title):
                    formatter.write_dl([(name, command.get_short_help_str(room)) for name, command in known])


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="expandd")
def cli() -> None:
    """Drop images into folders; take them out expanded.

    Start with `expandd demo`, which needs no account. Then name your folders in a configuration (config.example.yaml
    has every key), test it with `expandd check`, and start `expandd run`. `expandd VERB --help` explains a verb.

    \b
    Files
      /etc/expandd/config.yaml    the configuration, unless --config or
                                  $EXPANDD_CONFIG names another
      INBOX/.expandd              files in work
      STATE_DIR/journal.sqlite    what was done, and what was paid for

    \b
    Login, from the first of
      $CREDENTIALS_DIRECTORY/piktid, as systemd hands it over
      api.credentials_file of the configuration
      $PIKTID_ACCESS_TOKEN with $PIKTID_REFRESH_TOKEN
      $PIKTID_EMAIL with $PIKTID_PASSWORD

    \b
    Exit codes
      0   fine
      1   a fault of expandd's own, or of the disk its state is on
      2   usage
      3   once: some files went to the error folder
      4   once: some files still wait; check: the API is away
      75  another instance holds the state directory or an inbox
      78  configuration: nothing was started
    """  # noqa: D301 - click looks for the control character


for verb in (*report_verbs.VERBS, *command_verbs.VERBS, cluster):
    cli.add_command(verb)


@command(CONFIG, VERBOSE, group=cli, by_owner=True)
def run(config: Path, *, verbose: bool) -> int:
    """Watch the folders and expand new images, until stopped.

    SIGTERM or SIGINT stops it at a safe point: it first fetches and saves paid results, for `stop_timeout` at most.
    SIGHUP loads a changed configuration, as `expandd reload` does. The log goes to stderr: to systemd's
    journal as entries, to a terminal in colours, else as one JSON object a line.
    """
    from expandd.service.runtime.entry import run_daemon

    return run_daemon(config, os.environ, verbose=verbose)


@command(
    CONFIG,
    VERBOSE,
    click.option(
        "--patience",
        type=click.FloatRange(min=0),
        default=30.0,
        show_default=True,
        help="Seconds an outage may last before the files that wait are left for the next time (exit code 4).",
    ),
    group=cli,
    by_owner=True,
)
def once(config: Path, *, verbose: bool, patience: float) -> int:
    """Expand the images in the inboxes now, and wait for them.

    A terminal shows a progress bar, anything else gets the log. Exit code 3 means that some files went to the error
    folder, 4 that some still wait for the end of an outage or for a person.
    """
    from expandd.service.runtime.entry import run_batch

    return run_batch(config, os.environ, verbose=verbose, patience=patience)


@command(CONFIG, group=cli, by_owner=True)
def rebuild(config: Path) -> int:
    """Replace a lost or damaged job database. Pays nothing."""
    from expandd.service.runtime.rebuild import run_rebuild

    return run_rebuild(config)


DRY_RUN = click.option("--dry-run", is_flag=True, help="Print each command that would run, and run none.")


@command(INSTANCE, DRY_RUN, group=cli)
def install(*, instance: str, dry_run: bool) -> int:
    """Make expandd a systemd service and start it, as root.

    It makes the user, units, configuration, login, hot folders and a link in /usr/local/bin. It prints each command and
    skips steps that are already done. Run it again after an upgrade of the program, and after a folder was added.
    """
    from expandd.service.runtime.install import run_install

    return run_install(instance, dry_run=dry_run)


@command(INSTANCE, DRY_RUN, group=cli)
def uninstall(*, instance: str, dry_run: bool) -> int:
    """Stop the service and remove the program. Data stays.

    It keeps and names configuration, login, state and hot folders. With --instance it removes only that instance.
    """
    from expandd.service.runtime.install import run_uninstall

    return run_uninstall(instance, dry_run=dry_run)


@command(
    CONFIG,
    INSTANCE,
    click.option(
        "--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write it there, not to stdout."
    ),
    group=cli,
)
def unit(config: Path, *, instance: str, output: Path | None) -> int:
    """Print the systemd drop-in that opens the hot folders.

    The service may write nowhere else. Write it to /etc/systemd/system/expandd.service.d/folders.conf with --output,
    again after each added or moved folder.
    """
    from expandd.service.runtime.unit import show_unit

    return show_unit(config, instance, output)


@command(click.argument("topic", default=""), click.pass_context, group=cli, name="help")
def help_(context: click.Context, topic: str) -> int:
    """Show the help page about TOPIC.

    Topics are, for example, `troubleshooting`, `configuration`, and each command. Without TOPIC it lists them.
    """
    from expandd.service.reports.topics import show_topic

    if (command := cli.commands.get(topic)) is not None:
        click.echo(command.get_help(click.Context(command, info_name=topic, parent=context.parent)))
        return ExitCode.FINE
    return show_topic(topic)


@command(group=cli)
def schema() -> int:
    """Print the JSON Schema of the configuration, for editors."""
    from expandd.adapters.config.model import schema as text

    click.echo(text())
    return ExitCode.FINE


@command(click.argument("shell", type=click.Choice([shell.value for shell in Shell])), group=cli)
def completion(shell: str) -> int:
    """Print the completion script for SHELL.

    bash: put `eval "$(expandd completion bash)"` into ~/.bashrc, or the output into
    /etc/bash_completion.d/expandd for all users. zsh: the same in ~/.zshrc. fish: write the output to
    ~/.config/fish/completions/expandd.fish.
    """
    click.echo(script(cli, Shell(shell)))
    return ExitCode.FINE


@command(
    click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on."),
    click.option("--port", default=8787, show_default=True, help="The port of the API."),
    click.option("--link-port", default=8788, show_default=True, help="The port of the result links."),
    click.option(
        "--switch", "switches", multiple=True, metavar="NAME=VALUE", help="Change how it behaves; repeatable."
    ),
    click.option("--fault", "faults", multiple=True, metavar="CALL:KIND[:…]", help="Make calls go wrong; repeatable."),
    click.option("--list", "listing", is_flag=True, help="List the switches and their defaults, and stop."),
    group=cli,
)
def simulate(
    *, host: str, port: int, link_port: int, switches: tuple[str, ...], faults: tuple[str, ...], listing: bool
) -> int:
    """Run the simulator: the whole API, free of charge.

    A fault is the call (upload, generate, poll, delete, history, me, login, refresh, link), the kind of fault (429,
    413-html, reset, reset-after, hang-after, html, gzip, truncated, job-stuck, ...) and how often: a number of calls,
    always, or p=0.2. Further parts: seconds=20 (how long it hangs), and above=BYTES or sha256=HEX for calls about
    larger images only, or about images whose sha256 begins with HEX.
    """
    from expandd.service.demo.demo import describe_switches, run_simulate

    if listing:
        click.echo(describe_switches())
        return ExitCode.FINE
    return run_simulate(host, port, link_port, switches, faults)


@command(
    click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep everything in this folder."),
    group=cli,
)
def demo(keep: Path | None) -> int:
    """Show the whole job on sample images, with no account."""
    from expandd.service.demo.demo import run_demo

    return run_demo(keep)
