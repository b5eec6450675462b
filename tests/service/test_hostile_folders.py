"""Whatever lies in the folders, and whatever a person types: every verb says something, and none shows a traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from expandd.adapters.store.sqlite.job_store import SqliteJobStore
from expandd.service.cli.cli import cli
from tests.support.configurations import FOUR, loaded
from tests.support.images import an_image

pytestmark = pytest.mark.timeout(180)

DEEP = b"[" * 60_000
BROKEN = os.fsdecode(b"b\xff.png")
FILES = {
    "x.error.json": DEEP,
    "a.png.json": DEEP,
    ".error.json": DEEP,
    "y" * 240 + ".error.json": DEEP,
    BROKEN: an_image("png"),
    f"{BROKEN}.error.json": DEEP,
    "new\nline\x1b[31m.png": b"",
    "big.error.json": b'{"job":"a","what_to_do":"x","message":"' + b"y" * 70_000 + b'"}',
    "null.png": b"\0" * 5000,
}


def fill(directory: Path) -> None:
    for name, content in FILES.items():
        (directory / name).write_bytes(content)
    for name in ("pipe.png", "pipe.png.error.json"):
        os.mkfifo(directory / name)
    (directory / "loop.png").symlink_to("loop.png")
    (directory / "nowhere.png").symlink_to("nowhere")
    (directory / "etc.error.json").symlink_to("/etc/passwd")
    (directory / "dir.error.json").mkdir()
    os.utime(directory / "null.png", (2**33, 2**33))


def typed(base: Path) -> Iterator[list[str]]:
    yield from (["status"], ["status", "--json"], ["plan"], ["plan", "--json"], ["ledger"], ["check", "--offline"])
    strange = ["z" * 5000, "/" + "a/" * 3000, "../" * 50, "", "/", ".", "..", ".json", ".error.json", "/proc/self/mem"]
    here = [str(base / "hot"), str(base / "hot/inbox/dir.error.json/../.."), str(base / "state")]
    for name in [*FILES, "pipe.png", "loop.png", "etc.error.json", *strange, *here]:
        yield ["why", "--", name]
    for verb in ("retry", "pause", "resume", "release", "cancel"):
        for name in (BROKEN, "pipe.png", "/", ".json", "z" * 5000, str(base / "hot/error/loop.png")):
            yield [verb, "--", name]


@pytest.mark.parametrize("state", ["", "snapshot.json", "configuration.json"])
def test_every_verb_says_something_whatever_lies_there(tmp_path: Path, state: str) -> None:
    settings = loaded(tmp_path, "api: {base_url: 'http://127.0.0.1:9/api'}\n")
    settings.state_dir.mkdir(mode=0o700)
    SqliteJobStore(settings.state_dir / "journal.sqlite").close()
    for part in FOUR:
        fill(tmp_path / "hot" / part)
    if state:
        (settings.state_dir / state).write_bytes(DEEP)
        (tmp_path / "hot/done/loop.png").unlink()
    calls = list(typed(tmp_path))
    for verb, *words in calls[:3] if state else calls:
        outcome = CliRunner().invoke(cli, [verb, "--config", str(tmp_path / "config.yaml"), *words], input="n\n")

        assert outcome.exception is None or isinstance(outcome.exception, SystemExit), (verb, words, outcome.exc_info)
        assert outcome.output, (verb, words)
