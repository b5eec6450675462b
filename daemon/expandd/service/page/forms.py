"""Owns what a form may order: a bounded body, the page's token, a verb of the page about a job or folder it shows."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.requests import Request

from expandd.domain.commands import Order, Verb
from expandd.service.page.view import ALL

MOST_BYTES = 4096
ABOUT_JOBS = {
    Verb.RETRY: (
        "It is tried again within seconds. A file of the error folder goes back into its inbox and is paid for like "
        "a new one."
    ),
    Verb.CANCEL: "It goes to the error folder, unless it was paid for meanwhile.",
    Verb.PAID: "It goes to the error folder; nothing more is paid for it.",
    Verb.NOT_PAID: "It is expanded as if it were new, and paid for.",
}
ABOUT_FOLDERS = {
    Verb.PAUSE: "Pausing: nothing new is begun. What is paid for is still fetched and delivered.",
    Verb.RESUME: "Resuming: what waits goes on within seconds.",
    Verb.RELEASE: "Released: the files that were held are expanded, and paid for.",
}
SAID = {verb.value: words for verb, words in (ABOUT_JOBS | ABOUT_FOLDERS).items()}
"""What is said once an order is left for the daemon."""


class Refused(Exception):
    """Nothing is ordered; the message is a sentence, `code` that of HTTP."""

    def __init__(self, message: str, code: int = 400) -> None:
        super().__init__(message)
        self.code = code


async def form_of(request: Request) -> Mapping[str, str]:
    """The fields of a small form. Raises Refused."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused("A form is expected. Nothing was changed.", 415)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise Refused("That form is too large. Nothing was changed.", 413)
    try:
        return dict(parse_qsl(body.decode("ascii"), strict_parsing=True, keep_blank_values=True, max_num_fields=8))
    except ValueError as error:
        raise Refused("That form cannot be read. Nothing was changed.") from error


def prove_token(form: Mapping[str, str], token: str) -> None:
    """Raise Refused unless the form is one of this page."""
    if not hmac.compare_digest(form.get("token", "").encode(), token.encode()):
        raise Refused(
            "Nothing was changed: the page was opened before expandd started anew. Load it again, then press again.",
            403,
        )


def order_of(form: Mapping[str, str], folders: Mapping[str, Path], at: float) -> Order:
    """The order that a form asks for; `folders` are those shown, by key. Raises Refused."""
    try:
        verb = Verb(form.get("verb", ""))
    except ValueError as error:
        raise Refused("That is nothing that can be ordered here.") from error
    if verb in ABOUT_JOBS and form.get("job"):
        return Order(verb=verb, at=at, job_id=form["job"])
    if verb in ABOUT_FOLDERS and form.get("folder") == ALL:
        return Order(verb=verb, at=at)
    if verb in ABOUT_FOLDERS and form.get("folder", "") in folders:
        return Order(verb=verb, at=at, inbox=folders[form["folder"]])
    raise Refused("That folder or job is no longer there, or cannot be ordered about so. Load the page again.", 409)
