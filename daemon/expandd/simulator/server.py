"""Runs the simulator: in a thread for tests and the demo, or in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from expandd.simulator.faults import Fault, read_fault
from expandd.simulator.state import Counts, Log, SimulatorClock, State, silent
from expandd.simulator.switches import Switches
from expandd.simulator.web import Web

_START_SECONDS = 10.0
_STOP_SECONDS = 1.0


class Simulator:
    """The API and the link host on two sockets, served by one background thread. Port 0 takes a free one.

    `start` and `stop` may be repeated: ports and state are kept in between, as with an API that was away for a while.
    Raises OSError when a port is taken.
    """

    def __init__(
        self,
        switches: Switches | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        link_port: int = 0,
        log: Log = silent,
    ) -> None:
        self._state = State(switches or Switches(), log)
        self._host = host
        self._ports = [port, link_port]
        self._running: _Server | None = None

    def start(self) -> None:
        if self._running is not None:
            raise RuntimeError("the simulator is running already")
        with contextlib.ExitStack() as undo:
            sockets = [undo.enter_context(socket.create_server((self._host, port))) for port in self._ports]
            undo.pop_all()
        self._ports = [sock.getsockname()[1] for sock in sockets]
        self._state.link_url = self.link_url
        self._running = _Server(self._state, sockets)

    def stop(self) -> None:
        """Cut hanging connections, close both sockets and end the thread; does nothing when it is not running."""
        if self._running is not None:
            self._running.quit()
            self._running = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Scheme, host and port of the API host, which also has the control endpoints."""
        return f"http://{self._host}:{self._ports[0]}"

    @property
    def api_url(self) -> str:
        """The value for `api.base_url`."""
        return f"{self.url}/api"

    @property
    def link_url(self) -> str:
        return f"http://{self._host}:{self._ports[1]}"

    @property
    def clock(self) -> SimulatorClock:
        return self._state.clock

    @property
    def switches(self) -> Switches:
        with self._state.lock:
            return self._state.switches

    def switch(self, **changes: Any) -> None:
        """Change switches by name from the next request on. Raises TypeError for an unknown name."""
        with self._state.lock:
            self._state.switches = dataclasses.replace(self._state.switches, **changes)

    def set_fault(self, fault: Fault | str) -> None:
        """Add a fault, as an object or in its text form (`read_fault`)."""
        self._state.faults.add(read_fault(fault) if isinstance(fault, str) else fault)

    def clear_faults(self) -> None:
        self._state.faults.clear()

    @property
    def faults_left(self) -> int:
        """How many of the set faults can still strike."""
        return len(self._state.faults.listed())

    def counts(self) -> Counts:
        """A copy of the server's counts so far."""
        with self._state.lock:
            return self._state.counts.snapshot()

    def expire_access_tokens(self) -> None:
        with self._state.lock:
            self._state.tokens.expire_access(self._state.clock.now())

    def revoke_tokens(self) -> None:
        with self._state.lock:
            self._state.tokens.revoke_all()

    @property
    def credits(self) -> Decimal:
        with self._state.lock:
            return self._state.store.credits

    def set_credits(self, credits_left: Decimal | int) -> None:
        with self._state.lock:
            self._state.store.credits = Decimal(credits_left)


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8900,
    link_port: int = 0,
    switches: Switches | None = None,
    faults: Iterable[Fault | str] = (),
    log: Log = print,
    stop: threading.Event | None = None,
    opened: Callable[[Simulator], None] = lambda _: None,
) -> None:
    """Run the simulator until SIGINT, SIGTERM or `stop` is set; calls `opened` once it listens.

    Raises OSError when a port is taken.
    """
    ended = stop or threading.Event()
    server = Simulator(switches, host=host, port=port, link_port=link_port, log=log)
    for fault in faults:
        server.set_fault(fault)
    with contextlib.ExitStack() as undo:
        # Only the main thread may handle signals; in others only the caller's event ends it.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                undo.callback(signal.signal, number, signal.signal(number, lambda *_: ended.set()))
        undo.enter_context(server)
        opened(server)
        log(f"API      {server.api_url}")
        log(f"links    {server.link_url}")
        log(f"control  {server.url}/simulator/counts")
        ended.wait()


class _Server(uvicorn.Server):
    """One run of uvicorn in its own thread, which another thread can end at once."""

    def __init__(self, state: State, sockets: list[socket.socket]) -> None:
        self._closing = asyncio.Event()
        config = uvicorn.Config(
            Web(state, sockets[1].getsockname()[1], self._closing),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            date_header=False,
            server_header=False,
            timeout_keep_alive=60,
        )
        super().__init__(config)
        self._ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.serve(sockets)), name="simulator-server", daemon=True
        )
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise RuntimeError("the simulator did not start")

    def quit(self) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    async def main_loop(self) -> None:
        # Uvicorn's own loop checks only ten times a second whether to end, and every test would wait for it.
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._closing.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Uvicorn's own shutdown sleeps for a fixed tenth of a second, which each test would pay for.
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                # Uvicorn keeps plain sets, which cannot be awaited.
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - no event reports it
                    await asyncio.sleep(0.002)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class _Protocol(H11Protocol):
    """HTTP/1.1 that passes its connection to the application, so that it can cut it."""

    def __init__(self, config: uvicorn.Config, server_state: Any, app_state: dict[str, Any], **rest: Any) -> None:
        super().__init__(config, server_state, {**app_state, "connection": self}, **rest)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base does
        super().connection_made(transport)
        # asyncio sets this only on sockets that name their protocol, which an accepted one does not. Without it
        # each answer waits 40 ms for the client's delayed acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
