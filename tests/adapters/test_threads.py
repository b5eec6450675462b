"""Where the system has no thread left that is an OSError, never a bug, and what needs none goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import wait

import pytest

from expandd.adapters.bulkheads import SHARED, ask_each, begun, shared_threads, starting_threads

WITHOUT = """
import os, resource
from pathlib import Path
from expandd.adapters import responsiveness
from expandd.adapters.bulkheads import Bulkheads
from expandd.adapters.files.scan import FolderCounter
from expandd.adapters.store.sqlite.job_store import SqliteJobStore
from expandd.adapters.bulkheads import begun, shared_threads
from expandd.domain.errors import DatabaseAway
os.setuid(23001)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
for call in (lambda: begun(print), shared_threads):
    try:
        call()
    except OSError as error:
        print(error.strerror)
try:
    SqliteJobStore(Path("/nowhere/store"))
except DatabaseAway as error:
    print(error)
print(responsiveness.silent([Path("/")]) == {Path("/")})
print(responsiveness.answered(lambda: 1, 2))
Bulkheads().know([Path("/")])
print("known")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that may start no thread")
def test_without_a_thread_left_nothing_raises_what_nobody_expects() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=False)
    none_left = "the system lets expandd start no further thread"

    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        none_left,
        none_left,
        f"The job database cannot be opened: {none_left}.",
        "True",
        "2",
        "known",
    ]


def test_the_shared_threads_are_all_there_from_the_start() -> None:
    executor = shared_threads()
    before = threading.active_count()
    wait([executor.submit(threading.get_ident) for _ in range(10 * SHARED)])
    after = threading.active_count()
    executor.shutdown()

    assert before == after


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="something else"), starting_threads():
        raise RuntimeError("something else")


def test_one_that_does_not_return_is_not_waited_for_longer_than_said() -> None:
    release, asked = threading.Event(), []
    ask_each([release.wait, lambda: asked.append(1)], 0.2)
    release.set()
    begun(asked.append, 2).join()

    assert asked == [1, 2]
