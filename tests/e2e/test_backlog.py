"""A backlog stays on disk: the first upload comes at once, and memory does not grow with it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from tests.support.daemon import House, installed
from tests.support.images import an_image

FILES = 2_500
MOST_KILOBYTES = 80_000


def test_thousands_of_files_neither_delay_the_first_nor_fill_the_memory(house: House) -> None:
    content = an_image("png")
    for number in range(FILES):
        (house.folder() / "inbox" / f"{number:05}.png").write_bytes(content + str(number).encode())
    with house.running(installed(house)) as daemon:
        first = daemon.wait_for("job.uploaded")
        daemon.finished(times=8)
        memory = resident_kilobytes(daemon.process.pid)
        started = daemon.wait_for("expandd.started")
        in_work = len(list((house.folder() / "inbox" / ".expandd").iterdir()))

    assert seconds_between(started, first) < 10.0
    assert memory < MOST_KILOBYTES
    # Four are uploaded and four generated, five may be downloaded and sixteen archived.
    assert in_work <= 4 + 4 + 5 + 16 + 4


def resident_kilobytes(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def seconds_between(first: dict[str, str], second: dict[str, str]) -> float:
    return (datetime.fromisoformat(second["timestamp"]) - datetime.fromisoformat(first["timestamp"])).total_seconds()
