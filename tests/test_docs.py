"""Links, names, states, reasons and examples in the four READMEs, compared with the program."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

from expandd.adapters.config.load import settings_in
from expandd.domain.errors import FaultCode
from expandd.domain.job import MOVES, JobState
from expandd.domain.pauses import PauseReason
from expandd.service.observability.logs import sentence
from expandd.service.observability.metrics import Metrics

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "systemd/README.md", "daemon/README.md", "tests/README.md")
MOST_BYTES = 9_000
"""Of the page for users: nobody reads more before the first try."""


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def links(name: str) -> list[tuple[str, str]]:
    """Each relative link: its words and where it leads."""
    found = re.findall(r"\[((?:[^\[\]]|\[\])*)\]\(([^)\s]+)\)", text(name))
    return [(words, target) for words, target in found if not re.match(r"[a-z]+:", target)]


def anchors(path: Path) -> set[str]:
    """The names that a page's headings have as targets of links."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", READMES)
def test_relative_links_lead_somewhere(name: str) -> None:
    broken = []
    for _, target in links(name):
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)

    assert broken == []


def test_the_page_for_users_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= MOST_BYTES


def test_names_in_links_are_in_the_modules_that_they_lead_to() -> None:
    missing = [
        (words, target)
        for words, target in links("daemon/README.md")
        if target.endswith(".py")
        and re.fullmatch(r"`\w+(\.\w+)?`", words)
        and not words.endswith(".py`")
        and words.strip("`") not in names_in(ROOT / "daemon" / target)
    ]

    assert missing == []


def names_in(module: Path) -> set[str]:
    """Classes, functions, methods and tables of a module, as in `Intake` and `Intake.run`."""
    found: set[str] = set()
    for node in ast.parse(module.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {node.name} | {f"{node.name}.{one.name}" for one in node.body if isinstance(one, FUNCTION)}
        elif isinstance(node, FUNCTION):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def test_the_table_of_states_is_that_of_the_program() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|$", text("daemon/README.md"), re.MULTILINE)
    told = {
        state: set(re.findall(r"`(\w+)`", moves)) for state, moves in rows if state in {one.value for one in JobState}
    }

    assert told == {state.value: {to.value for to in MOVES[state]} for state in JobState}


@pytest.mark.parametrize("reason", PauseReason)
def test_operators_find_each_pause_by_its_word_and_by_what_status_says(reason: PauseReason) -> None:
    assert f"\n| `{reason.value}` | {reason.title} |" in text("systemd/README.md")


def test_operators_find_lines_of_the_log_that_there_are() -> None:
    events = re.findall(r"^\|[^|]*\| `([a-z]+\.[a-z_]+)` \|", text("systemd/README.md"), re.MULTILINE)

    assert events
    assert [event for event in events if sentence(event, {}) == event] == []


def test_operators_are_told_of_metrics_that_there_are() -> None:
    settings = settings_in(b"{folders: [{root: /a, offsets: {top: 1}}]}", ROOT)
    there = Metrics(settings).text()[0].decode()
    told = set(re.findall(r"expandd_[a-z_]+", text("systemd/README.md")))

    assert told
    assert [name for name in told if f"# TYPE {name} " not in there] == []


def test_the_examples_of_the_page_for_users_can_be_loaded() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", text("README.md"), re.DOTALL)

    assert len(examples) == 3
    assert all(settings_in(example.encode(), ROOT).folders for example in examples)


@pytest.mark.parametrize("name", ["tests/README.md"])
def test_tests_that_are_named_are_there(name: str) -> None:
    named = re.findall(r"`(\w+(?:/\w+)*/test_\w+\.py)`", text(name))

    assert named
    assert [path for path in named if not (ROOT / "tests" / path).exists()] == []


@functools.cache
def said_by_the_program() -> tuple[str, ...]:
    """Every text in the program, with … for what is filled in."""
    texts = []
    for module in (ROOT / "daemon/expandd").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(re.sub(r"{\w*}", "…", node.value))
    return tuple(texts)


def is_in(words: str, text: str) -> bool:
    """Whether the text has these words; … stands for anything."""
    return bool(re.search(".*".join(re.escape(part.strip()) for part in words.split("…")), text, re.DOTALL))


def first_cells(heading: str) -> list[str]:
    """The first cell of each row of the tables below a heading of the page for operators."""
    section = text("systemd/README.md").partition(f"\n### {heading}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    return re.findall(r"^\| (.+?) \| ", section, re.MULTILINE)[1:]


def test_operators_look_up_words_that_the_program_says() -> None:
    there = said_by_the_program()
    quoted = re.findall(r"log: \"(.+?)\"", text("systemd/README.md"))
    begins = re.findall(
        r"^\| `(.+?)` \| ",
        text("systemd/README.md").partition("the line begins with")[2].partition("\n\n")[0],
        re.MULTILINE,
    )
    words = [*quoted, *begins]

    assert len(words) > 8
    assert [one for one in words if not any(is_in(one, text) for text in there)] == []


def test_each_line_of_the_log_is_looked_up_by_its_own_words() -> None:
    rows = re.findall(r"^\| (.+?) \| `([a-z]+\.[a-z_]+)` \|", text("systemd/README.md"), re.MULTILINE)
    there = said_by_the_program()
    missing = []
    for cell, event in rows:
        words, own = re.sub(r"\([a-z][^)]*\)", "…", cell), sentence(event, {})
        # Where an event has no words but what it is told, they stand elsewhere in the program.
        if not any(is_in(words, text) for text in ([own] if own.strip(": ") else there)):
            missing.append(cell)

    assert missing == []


def test_each_warning_of_the_log_is_in_the_table() -> None:
    sources = "".join(module.read_text("utf-8") for module in (ROOT / "daemon/expandd").rglob("*.py"))
    warned = set(re.findall(r"\.(?:warning|error)\(\s*\"([a-z]+\.[a-z_]+)\"", sources))
    told = set(re.findall(r"^\| .+? \| `([a-z]+\.[a-z_]+)` \|", text("systemd/README.md"), re.MULTILINE))

    assert len(warned) > 20
    assert warned - told == set()


def test_each_code_of_an_error_file_is_told_of() -> None:
    told = {code for cell in first_cells("One file is not expanded") for code in re.findall(r"`(\w+)`", cell)}

    assert told == {code.value for code in FaultCode}
