"""Who takes part: expandd and what one would use instead, each given the whole job on the same ground.

Nothing is installed here. A contender whose programs are not on the PATH is left out, with the command that
installs them.
"""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import daemon
from tests.benchmarks.simulator import TOKEN, SimulatorProcess
from tests.benchmarks.yard import Crew, Yard, until

PEERS = Path(__file__).parent / "peers"
JOB = shlex.quote(str(PEERS / "job.sh"))

APT = "apt-get install inotify-tools curl jq redis-server"
PIP = "python3 -m venv peers && peers/bin/pip install watchdog httpx 'celery[redis]'"
NPM = "npm install node-red"
INSTALL = {
    "inotifywait": APT,
    "curl": APT,
    "jq": APT,
    "redis-server": APT,
    "celery": PIP,
    "watchmedo": PIP,
    "node-red": NPM,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What all of them are to do alike. `poll` in seconds, `added` in px on the left and on the right."""

    workers: int
    poll: float
    added: int
    settle: float


@dataclass(frozen=True, slots=True)
class Contender:
    """`start` returns once a dropped file would be noticed. `service` is what stays up when the rest is killed."""

    name: str
    needs: tuple[str, ...]
    start: Callable[[Yard, SimulatorProcess, Task, Crew], None]
    service: Callable[[Yard, Crew], None] | None = None

    @property
    def missing(self) -> str:
        """What must be installed first, in words; "" when everything is there."""
        absent = [program for program in self.needs if shutil.which(program) is None]
        how = "; ".join(dict.fromkeys(INSTALL[program] for program in absent))
        return f"{', '.join(absent)} not on the PATH: {how}" if absent else ""


def environ(place: Yard, simulator: SimulatorProcess, task: Task) -> dict[str, str]:
    return {
        "API": simulator.api_url,
        "TOKEN": TOKEN,
        "OUTBOX": str(place.outbox),
        "POLL": f"{task.poll:g}",
        "ADDED": str(task.added),
        "WORKERS": str(task.workers),
        "BROKER": f"redis+socket://{place.root}/redis.sock",
    }


def _expandd(place: Yard, simulator: SimulatorProcess, task: Task, crew: Crew) -> None:
    defaults = daemon.FolderDefaults(workers=task.workers, poll=task.poll, settle=task.settle)
    daemon.start(place, simulator, defaults, crew)


def _sequential(place: Yard, simulator: SimulatorProcess, task: Task, crew: Crew) -> None:
    crew.start([sys.executable, str(PEERS / "sequential.py"), str(place.inbox)], environ(place, simulator, task))
    crew.said("ready")


def _inotifywait(place: Yard, simulator: SimulatorProcess, task: Task, crew: Crew) -> None:
    pipe = (
        f"inotifywait -m -e close_write -e moved_to --format '%w%f%0' --no-newline {shlex.quote(str(place.inbox))} "
        f"| xargs -0 -P {task.workers} -n 1 {JOB}"
    )
    crew.start(["bash", "-c", pipe], environ(place, simulator, task))
    crew.said("Watches established")


def _watchmedo(place: Yard, simulator: SimulatorProcess, task: Task, crew: Crew) -> None:
    # It starts one process for each event, at once: a lock for each worker keeps to the same concurrency.
    slot = f'"{place.root}/slot-$(($(cksum <<<"${{watch_src_path}}" | cut -d" " -f1) % {task.workers}))"'
    command = f'if [ "${{watch_event_type}}" = created ]; then flock {slot} {JOB} "${{watch_src_path}}"; fi'
    crew.start(
        ["watchmedo", "shell-command", "--command", f"bash -c {shlex.quote(command)}", str(place.inbox)],
        environ(place, simulator, task),
    )
    time.sleep(2.0)  # it says nothing when it is ready


def _pool(place: Yard, simulator: SimulatorProcess, task: Task, crew: Crew) -> None:
    crew.start([sys.executable, str(PEERS / "pool.py"), str(place.inbox)], environ(place, simulator, task))
    crew.said("ready")


def _redis(place: Yard, crew: Crew) -> None:
    broker = place.root / "redis.sock"
    crew.start(["redis-server", "--port", "0", "--unixsocket", str(broker), "--dir", str(place.root), "--save", ""])
    if not until(broker.exists, 10.0):
        raise RuntimeError("redis-server did not start")


def _celery(place: Yard, simulator: SimulatorProcess, task: Task, crew: Crew) -> None:
    celery = shutil.which("celery") or "celery"
    variables = environ(place, simulator, task)
    worker = ["-A", "celery_tasks", "worker", "--concurrency", str(task.workers), "--loglevel", "INFO"]
    crew.start([celery, *worker], variables, PEERS)
    crew.said(" ready.")
    crew.start([str(Path(celery).parent / "python"), "celery_watch.py", str(place.inbox)], variables, PEERS)
    crew.said("ready\n")


def _node_red(place: Yard, simulator: SimulatorProcess, task: Task, crew: Crew) -> None:
    home = place.root / "node-red"
    home.mkdir(exist_ok=True)
    shutil.copy(PEERS / "node-red" / "settings.js", home)
    code = (PEERS / "node-red" / "expand.js").read_text(encoding="utf-8")
    # Nodes without a place on the sheet are taken for configuration.
    place_on = {"z": "tab", "x": 100, "y": 100}
    flow = [
        {"id": "tab", "type": "tab", "label": "expand"},
        {"id": "seen", "type": "watch", "files": str(place.inbox), "recursive": "", "wires": [["job"]], **place_on},
        {"id": "job", "type": "function", "func": code, "outputs": 1, "wires": [[]], **place_on},
    ]
    (home / "flow.json").write_text(json.dumps(flow), encoding="utf-8")
    place.log.write_bytes(b"")
    crew.start(
        ["node-red", "--userDir", str(home)], {**environ(place, simulator, task), "PORT": str(_free_port())}, home
    )
    crew.said("Started flows")
    time.sleep(2.0)  # its watch comes a moment after that


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


EXPANDD = Contender("expandd", (), _expandd)
CURL = Contender("inotifywait + xargs + curl", ("inotifywait", "curl", "jq"), _inotifywait)
ALL = (
    EXPANDD,
    Contender("vendor's sample in a loop", (), _sequential),
    CURL,
    Contender("watchmedo shell-command + curl", ("watchmedo", "curl", "jq"), _watchmedo),
    Contender("watchdog + thread pool + httpx", (), _pool),
    Contender("watchdog + celery + Redis", ("celery", "redis-server"), _celery, _redis),
    Contender("Node-RED", ("node-red",), _node_red),
)


def present(names: list[str] | None = None) -> list[Contender]:
    """Those that can take part; for the others a line is printed."""
    chosen = [one for one in ALL if not names or any(name in one.name for name in names)]
    for one in chosen:
        if one.missing:
            print(f"left out: {one.name}: {one.missing}", file=sys.stderr)
    return [one for one in chosen if not one.missing]
