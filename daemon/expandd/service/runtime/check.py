"""`check`: configuration, folders, credentials, login, credits, clock. Starts nothing, pays nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from expandd.adapters.config.load import load
from expandd.adapters.credentials import Credentials, find_credentials
from expandd.adapters.files.mount_guard import MountGuard, Mounts
from expandd.adapters.files.permissions import looseness
from expandd.adapters.images.decoder_program import Ready
from expandd.adapters.images.decoders import PillowImages
from expandd.adapters.images.sandbox import Wall
from expandd.adapters.locks import account_holder, holder
from expandd.adapters.store.database import server
from expandd.domain.api_types import Account
from expandd.domain.errors import (
    AccountAway,
    ConfigurationError,
    DatabaseAway,
    DecoderAway,
    FileFault,
    FolderAway,
    Later,
)
from expandd.domain.image import ImageFormat, Size
from expandd.domain.naming import printable
from expandd.domain.offsets import resolve
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import HotFolder, Settings

FINE = 0
WAITING = 4
CONFIGURATION = 78

_WALLS = {Wall.LANDLOCK: "Landlock (keeps them from files)", Wall.SECCOMP: "seccomp (keeps them from the network)"}

EXAMPLE = Size(1000, 800)
SKEW = 60.0
"""How far the two clocks may be apart, in seconds, before it is worth a line."""

HOSTS_SKEW = 5.0
"""How far the clocks of hosts, and of the job database that they share, may be apart, in seconds."""

Say = Callable[[str], None]


class AccountApi(Protocol):
    """The one call that check makes."""

    async def account(self) -> Account: ...


class Decoders(Protocol):
    """The one thing that check wants to know of what decodes."""

    async def prove(self) -> Ready: ...


DecodersFactory = Callable[[], AbstractAsyncContextManager[Decoders]]
ApiFactory = Callable[[Settings, Credentials], AbstractAsyncContextManager[AccountApi]]


async def check(
    config: Path,
    environ: Mapping[str, str],
    *,
    api_factory: ApiFactory,
    say: Say,
    offline: bool = False,
    login: Credentials | None = None,
    wall: Callable[[], float] = time.time,
    decoders_factory: DecodersFactory = PillowImages,
) -> int:
    """Say line by line whether expandd could run with `config`; the exit code: 0, 4 (service away), 78 (to correct).

    `offline` looks at the configuration and its folders alone. `login` stands in place of the one that this process is
    given.
    """
    try:
        settings = load(config)
        say(f"Configuration: {printable(config)} is fine.")
        for folder in settings.folders:
            say(_about(folder))
        for loose in looseness(settings.folders, settings.state_dir):
            say(f"Warning: {loose}")
        for soft in _on_soft_mounts(settings, Mounts.read()):
            say(f"Warning: {soft}")
        mounted = _say_mounts(settings, say)
        if offline:
            return FINE if mounted else WAITING
        credentials = login or find_credentials(settings.api, environ)
    except ConfigurationError as error:
        _say_problems(error, say)
        return CONFIGURATION
    say(f"Credentials: from {credentials.origin}.")
    if credentials.loose_permissions:
        say("Warning: every user of this machine can read that file. Close it: chmod 600, owned by the daemon's user.")
    stored = await say_database(settings, say)
    decodes = await _say_decoders(decoders_factory, say)
    answered = await _ask(settings, credentials, api_factory, say, wall)
    return max(answered, stored, FINE if decodes and mounted else WAITING)


async def say_database(settings: Settings, say: Say) -> int:
    """How the job database is that hosts share; the exit code that it is worth."""
    try:
        found = await asyncio.to_thread(server, settings)
    except ConfigurationError as error:
        _say_problems(error, say)
        return CONFIGURATION
    except DatabaseAway as error:
        say(f"Job database: {error} The daemon waits and goes on by itself.")
        return WAITING
    if found is None:
        return FINE
    say(f"Job database: {printable(found.where)}, Postgres {found.release}, tables of version {found.tables}.")
    if found.unsafe_standby:
        say(
            "Warning: a standby follows this Postgres, and synchronous_standby_names is empty: if it takes over, it "
            "may not know of the last paid images: budgets miss them, and results are delivered twice. Name it there."
        )
    wrong = [*_about_tables(found.tables, found.known), *about_clock(found.ahead)]
    for line in wrong:
        say(line)
    return CONFIGURATION if wrong else FINE


def _about_tables(tables: int, known: int) -> Iterator[str]:
    if tables < known:
        yield f"Tables: this expandd needs those of version {known}. Run `expandd cluster migrate` once, on one host."
    elif tables > known:
        yield f"Tables: this expandd knows version {known}, and pays for nothing beside newer ones. Upgrade it."


def about_clock(ahead: float) -> Iterator[str]:
    if abs(ahead) > HOSTS_SKEW:
        direction = "ahead of" if ahead > 0 else "behind"
        yield (
            f"Clock: this machine's is {abs(ahead):.0f} s {direction} the job database's. Hosts must agree within "
            f"{HOSTS_SKEW:.0f} s: set it right (timedatectl set-ntp true)."
        )


def _on_soft_mounts(settings: Settings, mounts: Mounts) -> Iterator[str]:
    for folder in settings.folders:
        if any(mounts.is_soft(directory) for directory in folder.directories):
            yield (
                f"the folders of {printable(folder.inbox)} are mounted with `soft`: while their server is slow a file "
                "is moved later than is known here, and a result may be delivered twice. Mount them with `hard`."
            )


def _say_mounts(settings: Settings, say: Say) -> bool:
    """Whether all is mounted that folders require; a line for each folder that would wait for it."""
    away: list[Path] = []
    for folder in settings.folders:
        try:
            MountGuard([folder]).check(folder.inbox)
        except FolderAway as error:
            away.append(folder.inbox)
            say(f"Warning: {printable(folder.inbox)} waits: {error}")
    return not away


async def _say_decoders(factory: DecodersFactory, say: Say) -> bool:
    """Whether images can be read here, and of which formats; a line where they cannot, or not behind all walls."""
    try:
        async with factory() as decoders:
            ready = await decoders.prove()
    except DecoderAway as error:
        say(f"Images: none can be read on this machine ({error}). Until that is corrected they wait.")
        return False
    say(f"Images: {_listed(ready.formats)} can be read.")
    if lacking := [one for one in ImageFormat if one not in ready.formats]:
        say(
            f"Warning: {_listed(lacking)} cannot be read: the Pillow that is installed was built without. Such images "
            "go to the error folder. Install Pillow from PyPI (`pip install .` does), which has them all."
        )
    if missing := [_WALLS[wall] for wall in Wall if wall not in ready.walls]:
        say(
            f"Warning: the processes that read images run without {' and '.join(missing)}: this kernel, or the unit's "
            "SystemCallFilter, does not allow it. An image made to do harm could reach more than itself."
        )
    return True


def _listed(formats: Sequence[ImageFormat]) -> str:
    *first, last = (one.title for one in formats)
    return f"{', '.join(first)} and {last}" if first else last


def _say_problems(error: ConfigurationError, say: Say) -> None:
    for problem in error.problems:
        say(str(problem))
    number = len(error.problems)
    what = "1 error" if number == 1 else f"{number} errors"
    say(f"Found {what}. Nothing was started; correct the above and check again.")


def _about(folder: HotFolder) -> str:
    start = f"Folder {printable(folder.inbox)}: preset {folder.preset_name}"
    try:
        offsets = resolve(folder.preset, EXAMPLE)
    except FileFault as error:
        return f"{start}; an image of {EXAMPLE} would be refused: {error.fault.message}"
    return f"{start}; an image of {EXAMPLE} would become {offsets.applied_to(EXAMPLE)} ({offsets})."


async def _ask(
    settings: Settings,
    credentials: Credentials,
    api_factory: ApiFactory,
    say: Say,
    wall: Callable[[], float],
) -> int:
    try:
        async with api_factory(settings, credentials) as api:
            account = await api.account()
    except ConfigurationError as error:
        _say_problems(error, say)
        return CONFIGURATION
    except AccountAway as error:
        return _away(error, settings, say)
    except Later as error:
        say(f"Service: no useful answer from {settings.api.base_url} ({error}). Check again in a minute.")
        return WAITING
    say(f"Login: accepted by {settings.api.base_url}.")
    _say_shared(settings, credentials, say)
    _say_credits(account, say)
    _say_clock(account, wall(), say)
    return FINE


def _away(error: AccountAway, settings: Settings, say: Say) -> int:
    url = settings.api.base_url
    match error.reason:
        case PauseReason.LOGIN_REFUSED:
            say(f"Login: refused by {url}. {error}")
            return CONFIGURATION
        case PauseReason.ENDPOINT_NOT_FOUND:
            say(f"Service: {error}")
            return CONFIGURATION
        case PauseReason.NO_CREDITS:
            say(f"Credits: {error}")
        case PauseReason.RATE_LIMITED:
            say(f"Service: {error} Check again in a minute; the daemon would wait by itself.")
        case _:
            say(f"Service: {error} Check the network and api.base_url ({url}). The daemon waits and goes on by itself.")
    return WAITING


def _say_shared(settings: Settings, credentials: Credentials, say: Say) -> None:
    """A line where another daemon than the one of this configuration works with the same account."""
    other = account_holder(settings.api.base_url, credentials.email)
    if other and not holder(settings.state_dir / "lock").startswith(f"{other} "):
        say(
            f"Warning: {other} of this machine works with the same e-mail address and a state directory of its own. "
            "The API limits calls by account, so each slows the other down: give one of them an account of its own."
        )


def _say_credits(account: Account, say: Say) -> None:
    if account.credits is None:
        say("Credits: the API did not say how many there are. Look them up in your account there.")
    elif account.credits <= 0:
        say(f"Warning: credits are {account.credits}: nothing can be paid. Buy credits; until then images wait.")
    else:
        say(f"Credits: {account.credits}.")


def _say_clock(account: Account, now: float, say: Say) -> None:
    if account.server_time is None:
        say("Clock: the API did not say what time it is.")
        return
    ahead = now - account.server_time
    if abs(ahead) > SKEW:
        direction = "ahead of" if ahead > 0 else "behind"
        say(
            f"Warning: this machine's clock is {abs(ahead):.0f} s {direction} the API's. "
            "Set it right (timedatectl set-ntp true): the times in logs and histories would not match.",
        )
    else:
        say("Clock: agrees with the API's.")
