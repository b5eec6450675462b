"""The queue's one task."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery
from job import expand

app = Celery("expand", broker=os.environ["BROKER"])
app.conf.broker_connection_retry_on_startup = True


@app.task
def expand_one(path: str) -> None:
    expand(Path(path))
