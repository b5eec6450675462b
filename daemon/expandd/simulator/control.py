"""The control door: faults, switches, clock, tokens, credits and counts of a running server, over HTTP."""

import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from expandd.simulator.answers import RefusalError, wrong_path
from expandd.simulator.faults import fault_from_json
from expandd.simulator.state import State
from expandd.simulator.switches import with_json


def _add_faults(state: State, value: Any) -> None:
    for fault in [fault_from_json(item) for item in (value if isinstance(value, list) else [value])]:
        state.faults.add(fault)


def _change_switches(state: State, value: Any) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {value!r}")  # noqa: TRY004 - an edge: one error type
    state.switches = with_json(state.switches, value)


def _set_credits(state: State, value: Any) -> None:
    state.store.credits = Decimal(str(_field(value, "credits")))


def _field(value: Any, name: str) -> Any:
    if not isinstance(value, dict) or name not in value:
        raise ValueError(f"expected an object with {name!r}, got {value!r}")
    return value[name]


_VIEWS: dict[str, Callable[[State], Any]] = {
    "faults": lambda state: [fault.as_json() for fault in state.faults.listed()],
    "switches": lambda state: state.switches.as_json(),
    "clock": lambda state: {"now": state.clock.now()},
    "credits": lambda state: {"credits": str(state.store.credits)},
    "counts": lambda state: state.counts.as_json(),
}
_CHANGES: dict[tuple[str, str], Callable[[State, Any], None]] = {
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): lambda state, _: state.faults.clear(),
    ("POST", "switches"): _change_switches,
    ("POST", "clock"): lambda state, value: state.clock.advance(float(_field(value, "advance"))),
    ("POST", "expire-tokens"): lambda state, _: state.tokens.expire_access(state.clock.now()),
    ("POST", "revoke-tokens"): lambda state, _: state.tokens.revoke_all(),
    ("POST", "credits"): _set_credits,
}


class Control:
    """What is below `/practice`: a GET answers how things stand, any other verb changes them and then answers that.

    A body that cannot be used is refused with 400.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    async def handle(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/practice/")
        change = _CHANGES.get((request.method, path))
        if change is None and not (request.method == "GET" and path in _VIEWS):
            raise wrong_path()
        try:
            value = json.loads(await request.body() or b"null")
            with self._state.lock:
                if change is not None:
                    change(self._state, value)
                return JSONResponse(_VIEWS[path](self._state) if path in _VIEWS else {})
        except (ValueError, TypeError, InvalidOperation) as error:
            raise RefusalError(400, str(error)) from error
