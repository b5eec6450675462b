from __future__ import annotations

import inspect

import pytest

from expandd.domain import errors
from expandd.domain.errors import (
    AccountAway,
    ConfigurationError,
    ExpanddError,
    Fault,
    FaultCode,
    FileFault,
    FolderAway,
    Later,
    LinkDead,
    Problem,
)
from expandd.domain.pauses import PauseReason

TREE = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)]
FAULT = Fault(FaultCode.EMPTY, "This file is empty.", "Save it again.")
PROBLEM = Problem(where="c.yaml:3", path="workers", expected="a whole number", found="'four'", hint="Write 4.")


@pytest.mark.parametrize("kind", TREE)
def test_every_error_of_ours_is_in_the_one_tree(kind: type[BaseException]) -> None:
    assert issubclass(kind, ExpanddError)
    assert kind.__doc__


@pytest.mark.parametrize("kind", [kind for kind in TREE if kind.__base__ is ExpanddError])
def test_every_branch_is_drawn_in_the_modules_docstring(kind: type[BaseException]) -> None:
    drawn = errors.__doc__ or ""
    # ImageIdRefused is an answer to one call; it never leaves the step that made it.
    if kind.__name__ != "ImageIdRefused":
        assert kind.__name__ in drawn


def test_a_file_fault_speaks_to_the_person() -> None:
    error = FileFault(FAULT)

    assert str(error) == "This file is empty."
    assert error.fault is FAULT


def test_a_dead_link_is_one_of_the_things_tried_later() -> None:
    assert issubclass(LinkDead, Later)


def test_an_account_that_is_away_knows_why_and_for_how_long() -> None:
    error = AccountAway(PauseReason.RATE_LIMITED, "429", 7.0)

    assert (error.reason, str(error), error.retry_after) == (PauseReason.RATE_LIMITED, "429", 7.0)
    assert AccountAway(PauseReason.NO_CREDITS, "402").retry_after is None


def test_a_folder_that_is_away_knows_why() -> None:
    assert FolderAway(PauseReason.STORAGE_UNAVAILABLE, "full").reason is PauseReason.STORAGE_UNAVAILABLE


def test_a_problem_says_where_what_was_expected_and_what_was_found() -> None:
    assert str(PROBLEM) == "c.yaml:3: workers: expected a whole number, found 'four'. Write 4."


def test_a_configuration_error_has_all_problems_at_once() -> None:
    error = ConfigurationError((PROBLEM, PROBLEM))

    assert str(error).count("\n") == 1
    assert error.problems == (PROBLEM, PROBLEM)
