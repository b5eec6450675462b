"""What is installed with expandd: bounded on both sides, and locked by hash for the API."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCK = (ROOT / "requirements.txt").read_text("utf-8")
PINNED = {
    canonicalize_name(name): Version(version)
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", LOCK, re.MULTILINE)
}

OURS = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
EXTRAS = [Requirement(line) for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra]
DEVELOPERS = [one for one in EXTRAS if one.name != PROJECT["project"]["name"]]
BUILDERS = [Requirement(line) for line in PROJECT["build-system"]["requires"]]


def test_every_dependency_has_a_lowest_and_a_highest_version() -> None:
    bounds = {str(one): {bound.operator for bound in one.specifier} for one in (*OURS, *DEVELOPERS, *BUILDERS)}

    assert {line for line, found in bounds.items() if not {">=", "<"} <= found} == set()


def test_the_lock_is_of_these_dependencies() -> None:
    """After a change of them it is made anew: daemon/README.md has the command."""
    wrong = [str(one) for one in OURS if not one.specifier.contains(PINNED.get(canonicalize_name(one.name), "0"))]

    assert wrong == []


def test_the_lock_holds_all_that_they_need() -> None:
    assert closure(OURS) <= set(PINNED)


def test_each_file_of_the_lock_is_known_by_its_hash_and_comes_from_nowhere_in_particular() -> None:
    blocks = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]

    assert len(blocks) == len(PINNED)
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK
    assert not re.search(r"^\s*-(?!-hash)|--(index|extra|find|trusted)", LOCK, re.MULTILINE)


def closure(asked: list[Requirement]) -> set[str]:
    """The names of all that is installed for these here."""
    found: set[str] = set()
    pending = [(one, {""}) for one in asked]
    while pending:
        one, extras = pending.pop()
        if one.marker is not None and not any(one.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(one.name)
        if name not in found:
            found.add(name)
            pending += [(Requirement(line), {"", *one.extras}) for line in requires(one.name) or ()]
    return found
