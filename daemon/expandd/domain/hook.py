"""Owns what a hook is told: the facts of one event, ready for a program and for a web server."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from expandd.domain.errors import ExpanddError


class HookName(Enum):
    """The hooks, by their key in the configuration."""

    ON_DONE = "on_done"
    ON_ERROR = "on_error"
    ON_PAUSED = "on_paused"

    @property
    def event(self) -> str:
        """What happened: done, error or paused."""
        return self.value.removeprefix("on_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of one event. `about` names the file or the gate, for the log.

    `json` is one object in UTF-8. `environ` holds the same facts as names and texts; a file name in it has the bytes
    that it has on the disk, as os.fsdecode gives them.
    """

    event: str
    about: str
    json: bytes
    environ: tuple[tuple[str, str], ...]


class HookFailed(ExpanddError):
    """A hook was not told, or would not hear. The message has no address, no secret and no fact in it.

    `again`: it may hear the next time. `output` holds the first lines of what a command said.
    """

    def __init__(self, message: str, *, again: bool = False, output: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.again = again
        self.output = output
