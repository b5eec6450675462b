from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WRITE_AND_READ = """
import sys
from pathlib import Path
from expandd.domain.pauses import PauseReason
from expandd.service.reports.snapshot import ActivePause, Snapshot, last_snapshot, write_snapshot

inbox = Path("/srv/M\\xe4rchen/inbox")
pause = ActivePause(inbox=inbox, pause="inbox", reason=PauseReason.INBOX_UNAVAILABLE, why="", since=1.0, again_at=None)
write_snapshot(Path(sys.argv[1]), Snapshot(at=1.0, process="p", pauses=(pause,)))
read = last_snapshot(Path(sys.argv[1]))
print(sys.getfilesystemencoding(), read.pauses[0].inbox == inbox)
"""


def test_snapshot_names_the_same_folder_in_a_latin_1_locale(tmp_path: Path) -> None:
    name = "de_DE.ISO-8859-1"
    try:
        subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", tmp_path / name], check=True, timeout=60.0)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the locale cannot be made: {error}")
    outcome = subprocess.run(
        [sys.executable, "-c", WRITE_AND_READ, tmp_path],
        env={**os.environ, "LOCPATH": str(tmp_path), "LC_ALL": name},
        check=True,
        capture_output=True,
        text=True,
        timeout=60.0,
    )
    assert outcome.stdout.split() == ["iso8859-1", "True"]
