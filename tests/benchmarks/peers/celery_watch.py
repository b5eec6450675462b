"""The producer: each file that is dropped becomes a task in the queue."""

from __future__ import annotations

import os
import sys

from celery_tasks import expand_one
from watchdog.events import DirCreatedEvent, FileCreatedEvent, FileSystemEventHandler
from watchdog.observers import Observer


class Dropped(FileSystemEventHandler):
    def on_created(self, event: DirCreatedEvent | FileCreatedEvent) -> None:
        expand_one.delay(os.fsdecode(event.src_path))


observer = Observer()
observer.schedule(Dropped(), sys.argv[1])
observer.start()
print("ready", flush=True)
observer.join()
