"""Owns how the help page lists the verbs: by what a person is about, not by the alphabet."""

from __future__ import annotations

import click

SECTIONS = {
    "Work": ("run", "once"),
    "See": ("status", "why", "plan", "preview", "ledger", "check"),
    "Steer": ("pause", "resume", "release", "retry", "redo", "cancel", "resolve"),
    "Set up": ("unit", "schema", "completion", "rebuild"),
    "Practise": ("demo", "simulate"),
}


class Sections(click.Group):
    """A group of verbs in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's own
        """Write the sections, each verb with the first sentence of its own page."""
        room = formatter.width - 6 - max(map(len, self.commands))
        for title, names in SECTIONS.items():
            known = [(name, self.commands[name]) for name in names if name in self.commands]
            if known:
                with formatter.section(title):
                    formatter.write_dl([(name, command.get_short_help_str(room)) for name, command in known])
