"""The script that people write: watchdog, a thread pool, httpx."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from job import expand
from watchdog.events import DirCreatedEvent, FileCreatedEvent, FileSystemEventHandler
from watchdog.observers import Observer

pool = ThreadPoolExecutor(int(os.environ["WORKERS"]))


class Dropped(FileSystemEventHandler):
    def on_created(self, event: DirCreatedEvent | FileCreatedEvent) -> None:
        pool.submit(expand, Path(os.fsdecode(event.src_path)))


observer = Observer()
observer.schedule(Dropped(), sys.argv[1])
observer.start()
print("ready", flush=True)
observer.join()
