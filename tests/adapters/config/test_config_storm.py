from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from expandd.adapters.config.load import load
from expandd.adapters.config.model import ConfigKeys, FolderKeys, keys_of
from expandd.adapters.config.presets import PresetKeys
from expandd.domain.errors import ConfigurationError, Problem
from expandd.domain.settings import ApiSettings, Budget, Burst, Hook, Hooks, Keep, PageSettings
from tests.support.examples import MORE, examples

SECTIONS = (ConfigKeys, ApiSettings, Keep, FolderKeys, PresetKeys, Budget, Burst, Hook, Hooks, PageSettings)
KEYS = sorted({key for section in SECTIONS for key in keys_of(section)})
SIGNS = "abz09 \n\t:-{}[],\"'#&*!|>%@`<~?./\\_\x00\x85é€😀"

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.dates(),
    st.binary(max_size=4),
    st.sampled_from(
        ["10s", "25%", "9:16", "{stem}{ext}", "http://x", "https://[::1", "/", "..", "center", "[::1]:8", "unix:/"]
    ),
)
trees: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), inner, max_size=5)
    ),
    max_leaves=12,
)


def problems(raw: bytes) -> tuple[Problem, ...]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "config.yaml"
        path.write_bytes(raw)
        try:
            load(path)
        except ConfigurationError as error:
            return error.problems
    return ()


def raises_nothing_else(raw: bytes) -> None:
    for problem in problems(raw):
        sentence = str(problem)
        assert sentence.encode()
        assert "\n" not in sentence
        assert problem.expected != "another value", "an error of pydantic that has no words of ours"


@given(st.text(alphabet=SIGNS) | st.text())
def test_arbitrary_text_raises_only_a_configuration_error(text: str) -> None:
    raises_nothing_else(text.encode("utf-8", "surrogatepass"))


@given(st.binary())
def test_arbitrary_bytes_raise_only_a_configuration_error(raw: bytes) -> None:
    raises_nothing_else(raw)


@settings(max_examples=examples(MORE))
@given(st.dictionaries(st.sampled_from(sorted(keys_of(ConfigKeys))), trees))
def test_arbitrary_values_for_real_keys_raise_only_a_configuration_error(tree: dict[str, Any]) -> None:
    raises_nothing_else(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


CORNERS = """
a: !!int x | a: !!int '' | a: !!bool x | a: !!timestamp x | a: 2001-99-99 | a: = | a: << | a: !!binary é | a: .nan
<<: 3 | <<: [1] | ? {x: 1} | ? [x] | : 1 | &x {<<: *x} | b: &x {<<: {<<: {a: 1}}} | a: &a [*a, *a] | !!set {a, b}
!!omap [a: 1] | folders: !!pairs [a: 1] | api: !!set {timeout} | workers: 1_0 | \ufeff | "\\ud800" | inbox: "\\0" | 2: 3
"""


@pytest.mark.parametrize("text", [*re.split(r" \| |\n", CORNERS.strip()), "a: " + "9" * 5000])
def test_corners_of_yaml_raise_only_a_configuration_error(text: str) -> None:
    raises_nothing_else(text.encode())


def test_a_bomb_of_aliases_is_refused_quickly() -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    raises_nothing_else("\n".join(lines).encode())
