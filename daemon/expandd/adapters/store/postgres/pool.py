"""The connections of the queue: they ask nothing before they are used, and leave no transaction open."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

CONNECTIONS = 4

WAIT = 5.0
"""Seconds that a call waits for one of them."""

# A host must not wait long for what another, which froze, keeps from it.
OPTIONS = "-c statement_timeout=8s -c lock_timeout=3s -c idle_in_transaction_session_timeout=5s"


def pool(**choices: Any) -> AsyncConnectionPool:
    """One that asks nothing before each use: where a connection is dead the call fails, and all are opened anew.

    Each statement is a transaction of its own, which a host that freezes does not leave open.
    """
    return AsyncConnectionPool(**{**choices, "check": None, "configure": _commit_each})


async def _commit_each(connection: psycopg.AsyncConnection) -> None:
    await connection.set_autocommit(True)
