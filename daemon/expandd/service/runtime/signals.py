"""Owns what signals mean: SIGTERM and SIGINT stop, a second one ends at once, SIGHUP reloads."""

from __future__ import annotations

import asyncio
import signal

_STOPS = (signal.SIGTERM, signal.SIGINT)


def stopped_by_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set; a second of either ends the program at once, as people expect."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        stop.set()
        for number in _STOPS:
            loop.remove_signal_handler(number)

    for number in _STOPS:
        loop.add_signal_handler(number, on_signal)
    return stop


def reloaded_by_signals() -> asyncio.Event:
    """An event that SIGHUP sets, each time."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, asked.set)
    return asked
