"""All that one practice server knows, behind one lock."""

import random
import threading
from collections.abc import Callable

from expandd.simulator.clock import PracticeClock
from expandd.simulator.counts import Counts
from expandd.simulator.faults import FaultBox
from expandd.simulator.store import Store
from expandd.simulator.switches import Switches
from expandd.simulator.tokens import Tokens

Log = Callable[[str], None]


def silent(_: str) -> None:
    """A log that keeps nothing."""


class State:
    """What requests, the control door and a test in the same process share.

    Hold `lock` while reading or changing `switches`, `store`, `tokens`, `counts`, `random` and the rest; `clock` and
    `faults` lock themselves.
    """

    def __init__(self, switches: Switches, log: Log = silent) -> None:
        self.lock = threading.RLock()
        self.switches = switches
        self.clock = PracticeClock()
        self.faults = FaultBox(switches.seed)
        self.counts = Counts()
        self.store = Store(switches.credits)
        self.tokens = Tokens()
        self.random = random.Random(switches.seed)  # noqa: S311 - repeatable on purpose
        self.link_url = ""
        self.last_poll: float | None = None
        self.link_attempts: dict[str, int] = {}
        self.log = log
        if switches.access_token is not None and switches.refresh_token is not None:
            self.tokens.install(switches.access_token, switches.refresh_token, self.clock.now(), switches.token_life)

    def settled(self) -> float:
        """The time now, after everything due by then has happened. Call it with the lock held."""
        now = self.clock.now()
        self.store.settle(now, self.switches)
        return now
