"""Backlog: what a great many waiting files cost, before the first upload and for each image, as they become fewer.

The backlog lies there before the start: PNG files of 64×64 px, each a file of its own. A first stretch of images is
timed with the whole backlog behind it. Then expandd is killed, all but a hundredth of the backlog is taken away, and a
second stretch is timed in a directory that was large once.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import time
from itertools import pairwise
from pathlib import Path

from PIL import Image

from expandd.adapters.files.roots import WORK
from expandd.adapters.files.scan import Scanner
from expandd.engine.inbox.candidates import Backlog
from tests.benchmarks import daemon, photos, table
from tests.benchmarks.meter import Usage, watched
from tests.benchmarks.simulator import SimulatorProcess, calls, simulator
from tests.benchmarks.yard import Crew, Yard, until, yard

KEEP = 100
FOLDER_DEFAULTS = daemon.FolderDefaults(workers=4, poll=0.1, settle=2.0, originals="delete")
DATED = 1_700_000_000
"""Epoch seconds about which files are dated."""
SHRINKS = 100_000
"""Files above which there is no second stretch: taking a million files away takes half an hour on some disks."""


def fill(inbox: Path, files: int) -> None:
    image = inbox.parent / "one.png"
    Image.new("RGB", (64, 64), "teal").save(image)
    content = image.read_bytes()
    for number in range(files):
        descriptor = os.open(inbox / f"{number:07}.png", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, content)
        os.close(descriptor)


def scan_seconds(inbox: Path) -> float:
    """Processor time of one pass over all files, with the oldest chosen, by expandd's own parts."""
    began, backlog = time.process_time(), Backlog()
    for batch in Scanner().batches(inbox, recursive=False, leave_out=WORK):
        for found in batch:
            turn = (0.0, found.mtime_ns, found.relative)
            if backlog.takes(turn):
                backlog.put(turn, hinted=True)
    return time.process_time() - began


def stretch(place: Yard, crew: Crew, images: int) -> Usage:
    """So many more results, measured."""
    wanted = len(place.results()) + images
    with watched(*crew.pids) as usage:
        if not place.wait_for(wanted, 60 + images):
            raise RuntimeError(f"only {len(place.results())} of {wanted} results came")
    return usage


def first_upload(service: SimulatorProcess, began: float) -> float:
    if not until(lambda: calls(service.counts(), "upload") > 0, 120.0):
        raise RuntimeError("no upload came")
    return float(service.counts()["uploads"][0]["began"]) - began


def measure(files: int, images: int, where: Path | None) -> list[table.Cell]:
    switches = {"poll_limit": FOLDER_DEFAULTS.poll, "generate_min": 0.05, "generate_max": 0.05}
    with simulator(**switches) as service, yard(where) as place:
        fill(place.inbox, files)
        scan = scan_seconds(place.inbox)
        crew = Crew(place.log)
        try:
            began = time.monotonic()
            daemon.start(place, service, FOLDER_DEFAULTS, crew)
            first = first_upload(service, began)
            many = stretch(place, crew, images)
            few = _shrunk(place, service, crew, images, files) if files <= SHRINKS else None
        finally:
            crew.kill()
    return [
        files,
        first,
        scan,
        max(usage.megabytes for usage in (many, few) if usage),
        images / many.seconds,
        many.cpu / images * 1000,
        images / few.seconds if few else None,
        few.cpu / images * 1000 if few else None,
    ]


def _shrunk(place: Yard, service: SimulatorProcess, crew: Crew, images: int, files: int) -> Usage:
    """A stretch after most of the backlog was taken away."""
    crew.kill()
    with os.scandir(place.inbox) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(".png")]
    for name in names[: max(0, len(names) - max(files // KEEP, 2 * images))]:
        (place.inbox / name).unlink()
    daemon.start(place, service, FOLDER_DEFAULTS, crew)
    uploads = calls(service.counts(), "upload")
    until(lambda: calls(service.counts(), "upload") > uploads, 60.0)
    return stretch(place, crew, images)


def out_of_order(files: int, *, before: bool) -> list[table.Cell]:
    """How many of all pairs of files are uploaded in another order than the older file first.

    Files there before the start have dates that are shuffled; the others come one after the other.
    """
    switches = {"poll_limit": FOLDER_DEFAULTS.poll, "generate_min": 0.05, "generate_max": 0.05}
    with simulator(**switches) as service, yard() as place:
        paths = photos.stage(place.staging, files, photos.TINY)
        if before:
            random.Random(7).shuffle(paths)
        turns = {hashlib.sha256(path.read_bytes()).hexdigest(): turn for turn, path in enumerate(paths)}
        for turn, path in enumerate(paths):
            os.utime(path, (DATED + turn, DATED + turn) if before else (DATED - turn, DATED - turn))
        crew = Crew(place.log)
        try:
            if before:
                place.drop(sorted(paths))
            daemon.start(place, service, FOLDER_DEFAULTS, crew)
            if not before:
                place.drop(paths)
            if not place.wait_for(files, 60 + files):
                raise RuntimeError(f"only {len(place.results())} of {files} results came")
            uploads = sorted(service.counts()["uploads"], key=lambda upload: upload["began"])
        finally:
            crew.kill()
    sent = [turns[upload["sha256"]] for upload in uploads]
    adjacent = sum(later < earlier for earlier, later in pairwise(sent))
    wrong = sum(later < earlier for place, earlier in enumerate(sent) for later in sent[place + 1 :])
    return ["before the start" if before else "while it runs", files, adjacent, wrong, files * (files - 1) // 2]


def worked_off(files: int, where: Path | None) -> list[list[table.Cell]]:
    """The rate and the cost of each fifth of a backlog, from its start to its end."""
    switches = {"poll_limit": FOLDER_DEFAULTS.poll, "generate_min": 0.05, "generate_max": 0.05}
    rows: list[list[table.Cell]] = []
    with simulator(**switches) as service, yard(where) as place:
        fill(place.inbox, files)
        crew = Crew(place.log)
        try:
            daemon.start(place, service, FOLDER_DEFAULTS, crew)
            first_upload(service, time.monotonic())
            for part in range(5):
                usage = stretch(place, crew, files * (part + 1) // 5 - len(place.results()))
                each = files / 5
                rows.append([f"{part * 20} to {part * 20 + 20} %", each / usage.seconds, usage.cpu / each * 1000])
        finally:
            crew.kill()
    return rows


COLUMNS = (
    "files",
    "first upload s",
    "scan, CPU s",
    "peak MB",
    "images/s, all there",
    "CPU ms/image, all there",
    "images/s, few left",
    "CPU ms/image, few left",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, nargs="*", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--images", type=int, default=300, help="in each of the two stretches")
    parser.add_argument("--where", type=Path, help="a directory on the disk to use; 4 kB for each file")
    parser.add_argument("--order", type=int, default=160, help="files whose order is looked at; 0 for none")
    parser.add_argument("--through", type=int, default=2_000, help="files that are worked off to the last; 0 for none")
    chosen = parser.parse_args()
    print(table.machine())
    if chosen.order:
        table.show(
            "Uploads out of order, the older file first",
            ["files come", "files", "neighbours", "pairs", "of pairs"],
            [out_of_order(chosen.order, before=before) for before in (True, False)],
        )
    if chosen.through:
        table.show(
            f"{chosen.through} files worked off from the first to the last",
            ["part", "images/s", "CPU ms/image"],
            worked_off(chosen.through, chosen.where),
        )
    rows: list[list[table.Cell]] = []
    for files in chosen.files:
        rows.append(measure(files, chosen.images, chosen.where))
        print("…", files, "files:", rows[-1], flush=True)
    if rows:
        table.show("A backlog that lies there before the start", COLUMNS, rows)
    print(f"\nleft on the disk: {shutil.disk_usage(chosen.where or Path('/tmp')).free / 1e9:.0f} GB")


if __name__ == "__main__":
    main()
