"""Checks the link of a result before a byte is sent there."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from expandd.domain.errors import ExpanddError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class LinkRefusedError(ExpanddError):
    """The link rule forbids this link, or it is invalid. The message never contains the link: it may be signed."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """All addresses of a host. Raises OSError or UnicodeError when it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRule:
    """Permits `https` and public addresses only; `relaxed` also permits `http` and every address.

    A proxy resolves and connects itself: then a name that resolves here is checked, one that does not is left to the
    proxy, and there is no peer to verify.
    """

    relaxed: bool
    resolve: Resolve = resolve

    async def check(self, url: str, *, proxied: bool = False) -> None:
        """Raise LinkRefusedError unless `url` may be fetched; OSError when its host cannot be resolved just now."""
        parts = _split(url)
        allowed = ("http", "https") if self.relaxed else ("https",)
        if parts.scheme not in allowed or not parts.hostname:
            raise LinkRefusedError(f"The link of the result is not an {allowed[-1]} link.{_REMEDY}")
        if self.relaxed:
            return
        for address in await self._addresses(parts, proxied=proxied):
            self.check_peer(address)

    async def _addresses(self, parts: SplitResult, *, proxied: bool) -> Sequence[str]:
        try:
            return await self.resolve(parts.hostname or "", _port(parts))
        except UnicodeError as error:
            raise LinkRefusedError("The link of the result names no possible host.") from error
        except OSError:
            if proxied:
                return ()
            raise

    def check_peer(self, address: str) -> None:
        """Raise LinkRefusedError unless `address`, which was resolved or connected to, is public."""
        if not self.relaxed and not is_public(address):
            raise LinkRefusedError(f"The link of the result leads to the private address {address}.{_REMEDY}")


_REMEDY = " Set `api.allow_private_links: true` if that is meant."


def is_public(address: str) -> bool:
    """Whether an IP address is publicly reachable. An address that embeds another one is judged by that."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    carried = _carried(ip) if isinstance(ip, ipaddress.IPv6Address) else ip
    return carried.is_global and not carried.is_multicast and not carried.is_reserved


def _carried(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if ip in NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo or (ip, ip))[1]


def is_local(base_url: str) -> bool:
    """Whether the API's address, as written, is plain `http` or on this machine or network.

    Names are not resolved here: the answer of a name server must not disable the link rule.
    """
    parts = _split(base_url)
    host = parts.hostname or ""
    return parts.scheme == "http" or host == "localhost" or host.endswith(".localhost") or _is_private(host)


def _is_private(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return not is_public(host)


def proxy_for(url: str) -> str | None:
    """The http(s) proxy that the environment (`HTTPS_PROXY`, `NO_PROXY`, …) names for this URL, if any."""
    parts = _split(url)
    proxies = getproxies()
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    named = proxy if "://" in proxy or not proxy else f"http://{proxy}"
    return named if named.startswith(("http://", "https://")) else None


def host_of(url: str) -> str:
    """The host of a URL, the only part of a signed link that may be shown."""
    return _split(url).hostname or "?"


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise LinkRefusedError("The link of the result is not a link.") from error
    return parts


def _port(parts: SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)
