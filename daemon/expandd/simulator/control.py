"""The control door: faults, switches, clock, tokens, credits and counts of a running server, over HTTP."""

import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from expandd.simulator.answers import RefusalError, wrong_path
from expandd.simulator.faults import fault_from_json
from expandd.simulator.state import State
from expandd.simulator.switches import with_json

if TYPE_CHECKING:
    from collections.abc import Callable


class Control:
    """One method per path and verb below `/practice`; a body that cannot be used is refused with 400."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._doors: dict[tuple[str, str], Callable[[Any], Any]] = {
            ("GET", "faults"): self._faults,
            ("POST", "faults"): self._add_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "switches"): self._switches,
            ("POST", "switches"): self._change_switches,
            ("GET", "clock"): self._clock,
            ("POST", "clock"): self._advance,
            ("POST", "expire-tokens"): self._expire_tokens,
            ("POST", "revoke-tokens"): self._revoke_tokens,
            ("POST", "credits"): self._set_credits,
            ("GET", "counts"): self._counts,
        }

    async def handle(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/practice/")
        door = self._doors.get((request.method, path))
        if door is None:
            raise wrong_path()
        try:
            value = json.loads(await request.body() or b"null")
            return JSONResponse(door(value))
        except (ValueError, TypeError, InvalidOperation) as error:
            raise RefusalError(400, str(error)) from error

    def _faults(self, _: Any) -> Any:
        return [fault.as_json() for fault in self._state.faults.listed()]

    def _add_faults(self, value: Any) -> Any:
        for fault in [fault_from_json(item) for item in (value if isinstance(value, list) else [value])]:
            self._state.faults.add(fault)
        return self._faults(None)

    def _clear_faults(self, _: Any) -> Any:
        self._state.faults.clear()
        return []

    def _switches(self, _: Any) -> Any:
        with self._state.lock:
            return self._state.switches.as_json()

    def _change_switches(self, value: Any) -> Any:
        with self._state.lock:
            self._state.switches = with_json(self._state.switches, _object(value))
            return self._state.switches.as_json()

    def _clock(self, _: Any) -> Any:
        return {"now": self._state.clock.now()}

    def _advance(self, value: Any) -> Any:
        self._state.clock.advance(float(_object(value, "advance")["advance"]))
        return self._clock(None)

    def _expire_tokens(self, _: Any) -> Any:
        with self._state.lock:
            self._state.tokens.expire_access(self._state.clock.now())
        return {}

    def _revoke_tokens(self, _: Any) -> Any:
        with self._state.lock:
            self._state.tokens.revoke_all()
        return {}

    def _set_credits(self, value: Any) -> Any:
        with self._state.lock:
            self._state.store.credits = Decimal(str(_object(value, "credits")["credits"]))
            return {"credits": str(self._state.store.credits)}

    def _counts(self, _: Any) -> Any:
        with self._state.lock:
            return self._state.counts.as_json()


def _object(value: Any, *required: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not set(required) <= set(value):
        raise ValueError(f"expected an object{''.join(f' with {name!r}' for name in required)}, got {value!r}")
    return value
