"""Reads YAML into plain values, each with its line and its text in the file."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from expandd.adapters.config.config_errors import ConfigError, KeyPath
from expandd.domain.naming import printable

DEEPEST = 20
MOST_NODES = 100_000
LONGEST_SHOWN = 60
MOST_BYTES = 1 << 20

_COMPARE = "Compare it with config.example.yaml."
_MERGE = "tag:yaml.org,2002:merge"
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_LOGIN_OR_QUERY = re.compile(r"(?<=://)[^/]*@|(?<=\?).*")
_OCTAL = re.compile(r"[-+]?0[0-7_]+")

_SYNTAX_HINTS = (
    ("mapping values are not allowed", "A value that contains ': ' needs quotes; or the indentation is off."),
    ("cannot start any token", "Put quotes around a value that begins with %, @, ` or another special sign."),
    ("did not find expected", "Look for a missing colon, bracket or quote, and compare the indentation nearby."),
    ("could not find expected ':'", "A colon is missing, or a quote above is not closed."),
    ("another document", "Only one document may stand in the file: remove the second '---'."),
    ("alias", "Each *name needs its &name above it."),
)


@dataclass(frozen=True, slots=True)
class Mark:
    """The line of a key or list item (from 1), and its value as written when it is one word or text."""

    line: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document as plain dicts, lists and scalars, with all keys as text and the errors of its form."""

    data: Any = None
    marks: Mapping[KeyPath, Mark] = field(default_factory=dict)
    config_errors: tuple[ConfigError, ...] = ()

    def line(self, path: KeyPath) -> int:
        """The line of the key at `path`, or of the nearest key above it."""
        while path and path not in self.marks:
            path = path[:-1]
        mark = self.marks.get(path)
        return mark.line if mark else 1

    def given(self, path: KeyPath) -> bool:
        """Whether the key is in the file, with any value."""
        return path in self.marks

    def shown(self, path: KeyPath) -> str:
        """The value at `path` in words for a person, never long."""
        value = self.value(path)
        mark = self.marks.get(path)
        return _shown(value, mark.text if mark else "")

    def value(self, path: KeyPath) -> Any:
        """The value at `path`, or None."""
        value = self.data
        for part in path:
            try:
                value = value[part]
            except (LookupError, TypeError):
                return None
        return value


def read(raw: bytes) -> Document:
    """Read one YAML document. Never raises for its content: errors of form are in `Document.config_errors`."""
    if len(raw) > MOST_BYTES:
        return _unreadable(1, f"more than {MOST_BYTES} bytes", "Is it the right file?")
    try:
        text = raw.removeprefix(codecs.BOM_UTF8).decode()
        loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
        if _depth(text, loader) > DEEPEST:
            return _too_deep(1)
        node = yaml.compose(text, Loader=loader)
    except UnicodeDecodeError as error:
        return _unreadable(raw.count(b"\n", 0, error.start) + 1, "bytes that are not UTF-8", "Save the file as UTF-8.")
    except yaml.MarkedYAMLError as error:
        return _bad_syntax(text, error)
    except yaml.YAMLError:
        return _unreadable(1, "a control character", "Remove it; an editor that shows invisible characters finds it.")
    if node is None:
        return _unreadable(1, "an empty file", "Start from config.example.yaml.")
    reader = _Reader()
    data = reader.value(node, ())
    return Document(data, reader.marks, tuple(reader.config_errors))


def _depth(text: str, loader: type[yaml.CSafeLoader | yaml.SafeLoader]) -> int:
    # libyaml's composer recurses in C and would take the process down with the stack; its parser does not recurse.
    depth = deepest = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > DEEPEST:
                break
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return deepest


class _Reader:
    """One walk over the nodes of a document."""

    def __init__(self) -> None:
        self.marks: dict[KeyPath, Mark] = {}
        self.config_errors: list[ConfigError] = []
        self._constructor = SafeConstructor()
        self._nodes = 0

    def value(self, node: Node, path: KeyPath, line: int | None = None) -> Any:
        self._nodes += 1
        self.marks[path] = Mark(line or _line(node), node.value if isinstance(node, ScalarNode) else "")
        # Aliases can make a small text endless, in depth (an alias inside itself) or in number.
        if len(path) > DEEPEST or self._nodes > MOST_NODES:
            return self._too_much(path)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(child, (*path, number)) for number, child in enumerate(node.value)]
        return self._mapping(node, path)

    def _too_much(self, path: KeyPath) -> None:
        if not any(config_error.expected.startswith("a file of") for config_error in self.config_errors):
            expected = f"a file of at most {DEEPEST} levels and {MOST_NODES} values"
            self._refuse(path, expected, "more", "Look for an alias (*name) that stands inside itself.")

    def _mapping(self, node: Node, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, child in self._entries(node, path):
            if key.value not in result:
                result[key.value] = self.value(child, (*path, key.value), _line(key))
        return result

    def _entries(self, node: Node, path: KeyPath) -> Iterator[tuple[ScalarNode, Node]]:
        """The entries by precedence: those of the mapping itself, then those merged with `<<`."""
        seen: dict[str, int] = {}
        merged: list[Node] = []
        for key, child in node.value:
            if key.tag == _MERGE:
                merged += child.value if isinstance(child, SequenceNode) else [child]
            elif not isinstance(key, ScalarNode):
                self._refuse(path, "keys that are plain words", "a list or a section as a key", line=_line(key))
            elif key.value in seen:
                found = f"'{printable(key.value)}' twice: on line {seen[key.value]} and on line {_line(key)}"
                self._refuse((*path, key.value), "each key once", found, "Keep one of them.", _line(key))
            else:
                seen[key.value] = _line(key)
                yield key, child
        for base in merged:
            yield from self._merged(base, path)

    def _merged(self, base: Node, path: KeyPath) -> Iterator[tuple[ScalarNode, Node]]:
        self._nodes += 1
        if not isinstance(base, MappingNode):
            self._refuse(path, "a section behind '<<:'", "something else", line=_line(base))
        elif self._nodes > MOST_NODES or any(key.tag == _MERGE for key, _ in base.value):
            self._refuse(path, "a section without a '<<:' of its own behind '<<:'", "one with it", line=_line(base))
        else:
            yield from self._entries(base, path)

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        try:
            value = self._constructor.construct_object(node)
            str(value).encode()
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, OverflowError):
            shown = _shown(node.value, node.value)
            return self._refuse(path, "a plain value", f"{shown}, which YAML cannot read", "Put it in quotes.")
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._refuse_trap(node.value, value, path)
        return value

    def _refuse_trap(self, text: str, value: float, path: KeyPath) -> None:
        found = f"{text}, which YAML reads as the number {value}"
        if _BASE_60.fullmatch(text):
            self._refuse(path, "text in quotes", found, f'Put quotes around it: "{text}".')
        elif _OCTAL.fullmatch(text):
            self._refuse(path, "a number without a leading zero", found, "Leave out the leading zero.")

    def _refuse(self, path: KeyPath, expected: str, found: str, hint: str = "", line: int | None = None) -> None:
        stands = line is not None
        config_error = ConfigError(path=path, expected=expected, found=found, hint=hint, line=line, stands=stands)
        self.config_errors.append(config_error)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _shown(value: Any, text: str) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return f"a section ({_short(', '.join(value))})" if value else "an empty section"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool) and text.lower() not in {"true", "false", ""}:
        return f"{text} (which YAML reads as {str(value).lower()})"
    return f"'{_short(value)}'" if isinstance(value, str) else _short(text or str(value))


def _short(text: str) -> str:
    text = printable(_LOGIN_OR_QUERY.sub("…", text.encode("utf-8", "backslashreplace").decode()))
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def _unreadable(line: int, found: str, hint: str) -> Document:
    return Document(config_errors=(ConfigError(path=(), expected="YAML text", found=found, hint=hint, line=line),))


def _too_deep(line: int) -> Document:
    return _unreadable(line, f"more than {DEEPEST} brackets or sections inside each other", _COMPARE)


def _bad_syntax(text: str, error: yaml.MarkedYAMLError) -> Document:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    written = lines[line - 1] if line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return _unreadable(line, "a tab in the indentation", "Indent with spaces, never with tabs.")
    words = str(error.problem or error.context or "something else").removeprefix("but found ")
    if "nesting depth" in words:  # PyYAML's own limit, where its scanner reads so far ahead that it comes first
        return _too_deep(line)
    hint = next((hint for sign, hint in _SYNTAX_HINTS if sign in words), _COMPARE)
    return _unreadable(line, f"an error in its form ({words})", hint)
