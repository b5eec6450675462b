"""The keys of what expandd tells others: hooks, and the page."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from expandd.adapters.config.values import Duration, MaybePath, PathOrNull, refused
from expandd.domain.settings import Hook, Hooks, PageSettings

UNIX = "unix:"
LONGEST_SOCKET = 107
"""Bytes of a path that the kernel takes as a socket's name."""

HIGHEST_PORT = 65535

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_AN_ADDRESS = 'an address such as "127.0.0.1:8080" or unix:/run/expandd/page.sock'
_A_COMMAND = "a list of the program's absolute path and its arguments, such as [/usr/local/bin/tell, done]"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host, a name or an address (brackets allowed)."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def command(value: Any) -> tuple[str, ...]:
    """An argv: no shell ever reads it."""
    if isinstance(value, str):
        raise refused(_A_COMMAND, "No shell reads it: write each word as an item of its own.")
    if not isinstance(value, list) or not value:
        raise refused(_A_COMMAND)
    if not all(isinstance(word, str) for word in value):
        raise refused(_A_COMMAND, "Put quotes around each item that is not a word.")
    if not value[0].startswith("/") or any("\0" in word for word in value):
        raise refused(_A_COMMAND, "Write the program's path in full, beginning with '/'.")
    return tuple(value)


def hook_url(value: Any) -> str:
    """The address of a webhook: https; http only where nobody else can listen in."""
    expected = "an address such as https://example.com/expandd"
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        plain = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        raise refused(expected) from None
    if not plain or parts.fragment or not re.fullmatch(r"[!-~]+", value):
        raise refused(expected, "It begins with https://.")
    if "@" in parts.netloc:
        raise refused(expected + ", without a name or password in it")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise refused("an address that begins with https://", "http is for this machine alone: others could listen in.")
    return str(value)


def listen(value: Any) -> str:
    """HOST:PORT, or a socket in the file system."""
    if not isinstance(value, str):
        raise refused(_AN_ADDRESS)
    if value.startswith(UNIX):
        path = value.removeprefix(UNIX)
        if not path.startswith("/") or "\0" in path or len(path.encode()) > LONGEST_SOCKET:
            raise refused(f"{_AN_ADDRESS}, whose path is absolute and of at most {LONGEST_SOCKET} bytes")
        return value
    match = _HOST_PORT.fullmatch(value)
    if not match or int(match[2]) > HIGHEST_PORT or (match[1].startswith("[") and not _is_ipv6(match[1])):
        raise refused(_AN_ADDRESS)
    return value


def _is_ipv6(bracketed: str) -> bool:
    try:
        ipaddress.IPv6Address(bracketed[1:-1])
    except ValueError:
        return False
    return True


def socket_of(address: str) -> Path | None:
    """The path of a socket in the file system, or None for HOST:PORT."""
    return Path(address.removeprefix(UNIX)) if address.startswith(UNIX) else None


def port_of(address: str) -> int | None:
    """The port of HOST:PORT, 0 where the system chooses one; None for a socket in the file system."""
    return None if socket_of(address) else int(address.rpartition(":")[2])


def reaches_beyond(address: str) -> bool:
    """Whether others than this machine's own users can reach what listens there."""
    return socket_of(address) is None and not is_loopback(address.rpartition(":")[0])


def hosts(value: Any) -> tuple[str, ...]:
    """Names that a browser may call the page by."""
    if not isinstance(value, list) or not all(isinstance(name, str) and _HOST.fullmatch(name) for name in value):
        raise refused("a list of host names, such as [images.example.com]", "Without http:// and without a port.")
    return tuple(value)


_WORDS = {"type": "array", "items": {"type": "string"}}

Command = Annotated[
    tuple[str, ...],
    PlainValidator(command),
    WithJsonSchema({**_WORDS, "minItems": 1}),
]
HookUrl = Annotated[str, PlainValidator(hook_url), WithJsonSchema({"type": "string", "pattern": "^https?://"})]
Listen = Annotated[str, PlainValidator(listen), WithJsonSchema({"type": "string", "pattern": "^unix:/.|:[0-9]+$"})]
HostNames = Annotated[tuple[str, ...], PlainValidator(hosts), WithJsonSchema(_WORDS)]


class HookKeys(BaseModel):
    """What is told of an event: a command, or a webhook."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"oneOf": [{"required": ["command"]}, {"required": ["url"]}]},
    )

    command: Command = Field(
        default=(),
        description="A program's absolute path and its arguments; no shell. Facts come as EXPANDD_… and JSON on stdin.",
    )
    url: HookUrl = Field(default="", description="Where the facts are sent as JSON, by POST; https.")
    secret_file: MaybePath = Field(
        default=None,
        description="A file with the secret that the webhook's requests are signed with; only for url.",
    )
    timeout: Duration = Field(default=30.0, description="How long the command, or one request, may take.")


def _left_empty(value: Any) -> Any:
    return {} if value is None else value


class HooksKeys(BaseModel):
    """What is told of each finished image, each one in error, and each pause; null is nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_done: HookKeys | None = Field(default=None, description="Told of each image whose result is delivered.")
    on_error: HookKeys | None = Field(default=None, description="Told of each image that went to the error folder.")
    on_paused: HookKeys | None = Field(default=None, description="Told when everything, or one folder, has to wait.")


class PageKeys(BaseModel):
    """The page for the browser."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: Listen = Field(description='Where it listens: "HOST:PORT", or unix:/path for a socket.')
    hosts: HostNames = Field(default=(), description="Host names it answers to, besides the address it listens on.")
    password_file: PathOrNull = Field(
        default=None,
        description="A file with the password it asks for; required unless only this machine can reach it.",
    )


Absolute = Callable[[str], Path]
"""Makes a path of the file absolute."""


def hooks_of(keys: HooksKeys, absolute: Absolute) -> Hooks:
    return Hooks(
        on_done=_hook_of(keys.on_done, absolute),
        on_error=_hook_of(keys.on_error, absolute),
        on_paused=_hook_of(keys.on_paused, absolute),
    )


def _hook_of(keys: HookKeys | None, absolute: Absolute) -> Hook | None:
    if keys is None:
        return None
    secret = absolute(keys.secret_file) if keys.secret_file else None
    return Hook(command=keys.command, url=keys.url, secret_file=secret, timeout=keys.timeout)


def page_of(keys: PageKeys | None, absolute: Absolute) -> PageSettings | None:
    if keys is None:
        return None
    password = absolute(keys.password_file) if keys.password_file else None
    return PageSettings(listen=keys.listen, hosts=keys.hosts, password_file=password)


HooksSection = Annotated[HooksKeys, BeforeValidator(_left_empty)]
