"""Owns `simulate`: the simulator on the command line, and what to set to work against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from expandd.service.exit_codes import ExitCode
from expandd.simulator.faults import read_fault
from expandd.simulator.server import serve
from expandd.simulator.switches import Switches, with_texts


def run_simulate(host: str, port: int, link_port: int, switches: Sequence[str], faults: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM. Raises click.UsageError for a switch or fault that is none."""
    try:
        chosen = with_texts(Switches(), switches)
        struck = [read_fault(text) for text in faults]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo("Simulator of the Magic Expand API: nothing here costs anything. Set in the configuration:")
    click.echo(f"  api: {{base_url: http://{host}:{port}/api, generate_path: {chosen.generate_path}}}")
    click.echo("and in the environment:")
    click.echo(f"  PIKTID_EMAIL={chosen.email} PIKTID_PASSWORD={chosen.password}")
    try:
        serve(host=host, port=port, link_port=link_port, switches=chosen, faults=struck, log=click.echo)
    except OSError as error:
        click.echo(
            f"expandd: cannot listen on {host}:{port} or :{link_port}: {error}. Choose another --port.", err=True
        )
        return ExitCode.OUR_FAULT
    return ExitCode.FINE


def describe_switches() -> str:
    """Every switch with its default, for the help page."""
    defaults: Mapping[str, object] = Switches().as_json()
    return "\n".join(f"  {name}={value}" for name, value in defaults.items())
