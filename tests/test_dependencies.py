"""What is installed with expandd: bounded on both sides, and locked by hash for the API."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
OURS = [Requirement(line) for line in PROJECT["project"]["dependencies"]]
CLUSTER = [Requirement(line) for line in PROJECT["project"]["optional-dependencies"]["cluster"]]
LOCKS = {"requirements.txt": OURS, "requirements-cluster.txt": [*OURS, *CLUSTER]}
"""What is installed for a service, and for one of several hosts."""

of_each_lock = pytest.mark.parametrize("lock", LOCKS)
EXTRAS = [Requirement(line) for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra]
DEVELOPERS = [one for one in EXTRAS if one.name != PROJECT["project"]["name"]]
BUILDERS = [Requirement(line) for line in PROJECT["build-system"]["requires"]]


def test_every_dependency_has_a_lowest_and_a_highest_version() -> None:
    bounds = {str(one): {bound.operator for bound in one.specifier} for one in (*OURS, *DEVELOPERS, *BUILDERS)}

    assert {line for line, found in bounds.items() if not {">=", "<"} <= found} == set()


def pinned(lock: str) -> dict[NormalizedName, Version]:
    found = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / lock).read_text("utf-8"), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in found}


@of_each_lock
def test_the_lock_is_of_these_dependencies(lock: str) -> None:
    """After a change of them it is made anew: daemon/README.md has the command."""
    known = pinned(lock)
    wrong = [str(one) for one in LOCKS[lock] if not one.specifier.contains(known.get(canonicalize_name(one.name), "0"))]

    assert wrong == []


@of_each_lock
def test_the_lock_holds_all_that_they_need(lock: str) -> None:
    assert closure(LOCKS[lock]) <= set(pinned(lock))


def test_hosts_of_a_cluster_have_what_a_host_that_is_alone_has() -> None:
    alone, cluster = pinned("requirements.txt"), pinned("requirements-cluster.txt")

    assert {name: cluster[name] for name in alone} == alone


@of_each_lock
def test_each_locked_file_has_a_hash(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]

    assert len(blocks) == len(pinned(lock))
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash)|--(index|extra|find|trusted)", text, re.MULTILINE)


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
