"""Owns the words of the HTTP seam: what an exchange yields, how it fails, and what is known of an attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from expandd.adapters.api.links import LinkRefusedError
from expandd.domain.errors import ExpanddError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from expandd.adapters.api.links import LinkRule


class TransportError(ExpanddError):
    """HTTP itself failed; the message names the host and the cause, never a whole link."""


class NeverSentError(TransportError):
    """Not one byte of the request left: no name, no connection, no TLS, no free connection."""


class MaybeReceivedError(TransportError):
    """The request, or a part of it, left, and the answer was lost: a time-out, a reset, a broken protocol.

    `status` is that of an answer whose head came and whose body was lost; None where not even that came.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class TooLargeError(MaybeReceivedError):
    """The answer is larger than anything this program asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer, whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def packed(self) -> bool:
        """Whether the body is compressed, which was not asked for: it is as it came, never unpacked."""
        return self.headers.get("content-encoding", "").strip().lower() not in {"", "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """The end of a fetch. With status 200 the target holds `size` bytes, synced; otherwise there is no target.

    `head` is how the body begins.
    """

    status: int
    size: int = 0
    sha256: str = ""
    head: bytes = b""


class Attempt:
    """What is known of one attempt: whether it connected anew, whether anything left, what status came back.

    The first two are from httpcore's own trace.
    """

    __slots__ = ("_rule", "connected", "sent", "status")

    def __init__(self, rule: LinkRule | None = None) -> None:
        self._rule = rule
        self.connected = False
        self.sent = False
        self.status: int | None = None

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith("send_request_headers.started"):
            self.sent = True
        elif event == "connection.connect_tcp.complete":
            self.connected = True
            await self._verify(info["return_value"])

    async def _verify(self, stream: Any) -> None:
        if self._rule is None:
            return
        try:
            self._rule.check_peer(str(stream.get_extra_info("server_addr")[0]))
        except LinkRefusedError:
            await stream.aclose()
            raise
