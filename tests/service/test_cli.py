"""The command line, called as a person calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from expandd.adapters.store.sqlite.job_store import SqliteJobStore
from expandd.domain.job import JobState
from expandd.service.cli.cli import SECTIONS, cli
from expandd.service.cli.verbs import command
from tests.support.images import an_image
from tests.support.jobs import a_job_in

BAD = """\
state_dir: /nowhere/at/all
wokers: 4
folders:
  - root: /nowhere/hot
    preset: storey
presets:
  story: {aspect: "9:16"}
"""


def test_every_verb_has_a_help_page_that_says_what_it_does() -> None:
    for verb, known in cli.commands.items():
        outcome = CliRunner().invoke(cli, [verb, "--help"])

        assert outcome.exit_code == 0, verb
        assert known.help, verb
        assert known.help.split(".")[0] in " ".join(outcome.output.split()), verb


def test_the_help_page_lists_every_verb_with_a_whole_sentence() -> None:
    lines = CliRunner().invoke(cli, ["--help"], terminal_width=80).output.splitlines()
    told = {words[0]: words[1:] for line in lines if (words := line.split()) and line.startswith("  ")}

    assert {verb for section in SECTIONS.values() for verb in section} >= set(cli.commands)
    for verb in cli.commands:
        assert told[verb], verb
        assert not told[verb][-1].endswith("..."), verb


def test_all_config_errors_of_a_configuration_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD, encoding="utf-8")
    outcome = CliRunner().invoke(cli, ["run", "--config", str(tmp_path / "bad.yaml")])

    assert outcome.exit_code == 78
    assert "bad.yaml:2: wokers" in outcome.output
    assert "'workers'" in outcome.output
    assert "bad.yaml:5" in outcome.output
    assert "'story'" in outcome.output


def test_what_the_store_reads_begins_with_how_grave_it_is(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as log:
        found = os.fstat(log.fileno())
        environ = {**os.environ, "JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        asked = [sys.executable, "-m", "expandd", "run", "--config", str(tmp_path / "none.yaml")]
        subprocess.run(asked, env=environ, stderr=log, check=False)
        log.seek(0)
        lines = log.read().splitlines()

    assert lines
    assert all(line.startswith("<3>") for line in lines)


def test_a_missing_configuration_is_a_sentence_not_a_trace(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(cli, ["run", "--config", str(tmp_path / "none.yaml")])

    assert outcome.exit_code == 78
    assert "none.yaml" in outcome.output
    assert "Traceback" not in outcome.output


def test_an_unknown_verb_is_a_config_error_of_usage() -> None:
    assert CliRunner().invoke(cli, ["expand"]).exit_code == 2


def test_the_schema_is_json() -> None:
    assert "properties" in json.loads(CliRunner().invoke(cli, ["schema"]).output)


def test_the_simulator_server_lists_its_switches_and_refuses_unknown_ones() -> None:
    assert "poll_limit=3.0" in CliRunner().invoke(cli, ["simulate", "--list"]).output
    assert CliRunner().invoke(cli, ["simulate", "--switch", "nonsense=1"]).exit_code == 2
    assert CliRunner().invoke(cli, ["simulate", "--fault", "nonsense"]).exit_code == 2


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_and_version_do_not_wait_for_what_they_do_not_need(arguments: list[str]) -> None:
    heavy = {"httpx", "pydantic", "PIL", "starlette", "uvicorn", "watchdog", "structlog", "rich", "yaml"}
    program = (
        "import sys\nfrom expandd.__main__ import main\n"
        f"sys.argv = ['expandd', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert not heavy & {name.partition(".")[0] for name in outcome.stderr.splitlines()}


def test_preview_draws_what_a_preset_would_do(tmp_path: Path) -> None:
    for part in ("inbox", "outbox", "done", "error"):
        (tmp_path / "hot" / part).mkdir(parents=True)
    (tmp_path / "c.yaml").write_text(
        f"state_dir: {tmp_path}/state\npresets: {{square: {{aspect: 1}}}}\n"
        f"folders: [{{root: {tmp_path}/hot, preset: square}}]\n",
        encoding="utf-8",
    )
    (tmp_path / "pic.png").write_bytes(an_image("png", 120, 80))
    common = ["--config", str(tmp_path / "c.yaml")]
    drawn = CliRunner().invoke(
        cli, ["preview", str(tmp_path / "pic.png"), "square", "-o", str(tmp_path / "p.png"), *common]
    )
    unknown = CliRunner().invoke(cli, ["preview", str(tmp_path / "pic.png"), "round", *common])

    assert drawn.exit_code == 0, drawn.output
    assert "120×120" in drawn.output
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert unknown.exit_code == 2
    assert "It has: square" in unknown.output


def test_preview_needs_presets_and_no_hot_folder(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("presets: {square: {aspect: 1}}\nfolders: [{root: gone, preset: squre}]\n")
    (tmp_path / "pic.png").write_bytes(an_image("png", 120, 80))
    asked = ["preview", str(tmp_path / "pic.png"), "square", "-o", str(tmp_path / "p.png")]

    assert CliRunner().invoke(cli, [*asked, "--config", str(tmp_path / "c.yaml")]).exit_code == 0


@pytest.mark.parametrize("words", [["ledger", "--month", "jan"], ["unit", "--instance", "a/b"]])
def test_what_cannot_be_meant_is_refused_with_what_can(words: list[str]) -> None:
    outcome = CliRunner().invoke(cli, words)

    assert outcome.exit_code == 2
    assert "2026-11" in outcome.output or "letters, digits" in outcome.output


def test_a_terminal_that_lacks_characters_gets_plain_ones() -> None:
    asked = [sys.executable, "-m", "expandd", "ledger", "--month", "jän"]
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    outcome = subprocess.run(asked, env=environ, capture_output=True, check=False)

    assert outcome.returncode == 2
    assert 'this is "jän".' in outcome.stderr.decode("latin-1")


def test_what_nobody_foresaw_is_a_sentence_and_its_trace_a_file() -> None:
    @command()
    def stumbles() -> int:
        raise RuntimeError("of nobody's doing")

    outcome = CliRunner().invoke(stumbles)
    (said,) = outcome.output.splitlines()
    trace = Path(said.split()[-1].rstrip("."))

    assert outcome.exit_code == 1
    assert "RuntimeError: of nobody's doing" in said
    assert "in stumbles" in trace.read_text()
    trace.unlink()


def test_what_the_system_refuses_is_a_sentence_with_the_files_name() -> None:
    @command()
    def asks() -> int:
        raise PermissionError(13, "Permission denied", "/var/lib/expandd/journal.sqlite")

    outcome = CliRunner().invoke(asks)

    assert outcome.exit_code == 1
    assert outcome.output.startswith("expandd: /var/lib/expandd/journal.sqlite: Permission denied. Run it as root")


def test_the_simulator_names_its_ports_and_serves_on_when_nobody_reads(tmp_path: Path) -> None:
    asked = [sys.executable, "-m", "expandd", "simulate", "--port", "0", "--link-port", "0"]
    with (
        (tmp_path / "stderr").open("w") as stderr,
        subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=stderr) as simulator,
    ):
        assert simulator.stdout is not None
        said = [simulator.stdout.readline().decode() for _ in range(2)]
        address = said[1].split("base_url: ")[1].split(",")[0]
        simulator.stdout.close()
        answers = [httpx.get(f"{address}/me").status_code for _ in range(2)]
        simulator.terminate()

    assert ":0/" not in address
    assert answers == [401, 401]
    assert simulator.returncode == 0
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_taught_to_complete(shell: str) -> None:
    outcome = CliRunner().invoke(cli, ["completion", shell])

    assert outcome.exit_code == 0
    assert "_EXPANDD_COMPLETE" in outcome.output


def test_verbs_options_and_the_presets_of_the_configuration_are_completed(tmp_path: Path) -> None:
    for part in ("inbox", "outbox", "done", "error"):
        (tmp_path / "hot" / part).mkdir(parents=True)
    (tmp_path / "c.yaml").write_text(
        f"state_dir: {tmp_path}/state\npresets: {{square: {{aspect: 1}}, wide: {{left: 9}}}}\n"
        f"folders: [{{root: {tmp_path}/hot, preset: square}}]\n",
        encoding="utf-8",
    )

    def completed(*words: str) -> list[str]:
        environ = {
            **os.environ,
            "_EXPANDD_COMPLETE": "bash_complete",
            "EXPANDD_CONFIG": str(tmp_path / "c.yaml"),
            "COMP_WORDS": " ".join(["expandd", *words]),
            "COMP_CWORD": str(len(words)),
        }
        asked = [sys.executable, "-c", "from expandd.__main__ import main; main()"]
        said = subprocess.run(asked, env=environ, capture_output=True, text=True, check=False).stdout
        return [line.partition(",")[2] for line in said.splitlines()]

    assert "status" in completed("st")
    assert "--watch" in completed("status", "--w")
    assert completed("preview", "pic.png", "sq") == ["square"]


def test_the_page_for_operators_is_on_the_machine_itself() -> None:
    listed, found, unknown, verb = (
        CliRunner().invoke(cli, ["help", *words]) for words in ([], ["Troubleshooting"], ["zebras"], ["pause"])
    )

    assert "\n  troubleshoot\n" in listed.output
    assert found.output.startswith("## Troubleshoot\n")
    assert "| `burst` |" in found.output
    assert "## Backup" not in found.output
    assert unknown.exit_code == 2
    assert "Usage: expandd pause" in verb.output or "Usage: cli pause" in verb.output


async def test_that_nothing_was_paid_is_not_taken_while_a_frozen_host_may_still_pay(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("state_dir: state\nfolders: [{root: hot, offsets: {top: 10}}]\n", encoding="utf-8")
    (tmp_path / "state").mkdir()
    store = SqliteJobStore(tmp_path / "state" / "journal.sqlite")
    await store.add(a_job_in(JobState.UNKNOWN, "job-1", owner="b-1", sender="a-1"))
    refused = CliRunner().invoke(cli, ["resolve", "job-1", "--not-paid", "--config", str(tmp_path / "c.yaml")])

    assert refused.exit_code == 2
    assert "`expandd cluster bury a`" in refused.output
    assert await store.commands() == []
    store.close()
