"""Checks and reads the addresses in the configuration: of the API, of webhooks, and of the page."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from expandd.adapters.config.config_errors import refused
from expandd.domain.naming import printable

UNIX = "unix:"
LONGEST_SOCKET = 107
"""The most bytes of a socket's path in the kernel."""

HIGHEST_PORT = 65535

_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]|[A-Za-z0-9._-]+):([0-9]{1,5})")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_AN_ADDRESS = 'an address such as "127.0.0.1:8080" or unix:/run/expandd/page.sock'


def base_url(value: Any) -> str:
    """An http(s) address without credentials, query or trailing slash."""
    begins = "It begins with https:// (or http:// for the simulator)."
    _web_address(value, "https://api.piktid.com/api", begins, query=False)
    return str(value).rstrip("/")


def hook_url(value: Any) -> str:
    """The address of a webhook: https, or http on this machine, where nobody else can listen in."""
    parts = _web_address(value, "https://example.com/expandd", "It begins with https://.", query=True)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise refused("an address that begins with https://", "http is for this machine alone: others could listen in.")
    return str(value)


def _web_address(value: Any, example: str, begins: str, *, query: bool) -> SplitResult:
    expected = f"an address such as {example}"
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        plain = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        raise refused(expected) from None
    if not plain or (parts.query and not query) or parts.fragment or not re.fullmatch(r"[!-~]+", value):
        raise refused(expected, begins)
    if "@" in parts.netloc:
        raise refused(expected + ", without a name or password in it")
    return parts


def url_path(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"/[!-~]+", value) or "?" in value or "#" in value:
        raise refused("a path such as /edit/generate", "It begins with '/' and is added to base_url.")
    return value


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
    if not match or int(match[2]) > HIGHEST_PORT or (match[1].startswith("[") and not is_ip(match[1])):
        raise refused(_AN_ADDRESS)
    return value


def hosts(value: Any) -> tuple[str, ...]:
    """Host names under which a browser may request the page."""
    if not isinstance(value, list) or not all(isinstance(name, str) and _HOST.fullmatch(name) for name in value):
        raise refused("a list of host names, such as [images.example.com]", "Without http:// and without a port.")
    return tuple(value)


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"{UNIX}{printable(self.path)}"
        return f"http://[{self.host}]:{self.port}/" if ":" in self.host else f"http://{self.host}:{self.port}/"

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.path is not None or is_loopback(self.host)


def parse_address(listen: str) -> Address:
    """The address of "HOST:PORT", "[IPV6]:PORT" or "unix:/path". Raises ValueError for anything else."""
    if listen.startswith(UNIX):
        path = Path(listen.removeprefix(UNIX))
        if not path.is_absolute():
            raise ValueError("the path of a unix socket must begin with /")
        return Address(path=path)
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal():
        raise ValueError("an address is HOST:PORT")
    return Address(host=host.removeprefix("[").removesuffix("]"), port=int(port))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host, a name or an address (brackets allowed)."""
    return host.lower() == "localhost" or (is_ip(host) and ipaddress.ip_address(host.strip("[]")).is_loopback)


def is_ip(host: str) -> bool:
    """Whether it is an address, not a name (brackets allowed)."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
