"""Whatever stands at whichever key: the configuration is taken or refused, and nothing else comes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expandd.adapters.config.load import load, state_dir_of
from expandd.domain.errors import ConfigurationError, Problem
from tests.support.configurations import directories
from tests.support.examples import MORE, examples

WHOLE: dict[str, Any] = {
    "state_dir": "state",
    "workers": 4,
    "stop_timeout": "20s",
    "api": {
        "base_url": "https://api.example/api",
        "generate_path": "/edit/generate",
        "generate_extra": {"a": 1},
        "poll_interval": "3s",
        "timeout": "30s",
        "unknown_wait": "15m",
        "credentials_file": "login",
        "allow_private_links": False,
    },
    "keep": {"journal": "90d", "done": "forever", "results": "30d"},
    "budget": {"day": 5, "month": 5},
    "keep_credits": 3,
    "hooks": {
        "on_done": {"command": ["/bin/true", "a"], "timeout": "3s"},
        "on_error": {"url": "https://example.com/", "secret_file": "secret", "timeout": "3s"},
        "on_paused": None,
    },
    "page": {"listen": "127.0.0.1:8080", "hosts": ["a.example"], "password_file": "secret"},
    "metrics_file": "metrics/x.prom",
    "presets": {
        "sides": {"top": 1, "bottom": "5%", "left": 2, "right": 3},
        "ratio": {"aspect": "9:16", "anchor": "center"},
        "size": {"width": 5, "height": 8, "anchor": "left"},
    },
    "defaults": {
        "name": "{stem}{ext}",
        "originals": "move",
        "recursive": False,
        "watch": "auto",
        "settle": "2s",
        "settle_max": "10m",
        "scan_interval": "60s",
        "duplicates": "expand",
        "sidecar": False,
        "budget": {"day": None, "month": None},
        "burst": {"files": 200, "within": "10m"},
    },
    "folders": [
        {"root": "hot", "preset": "sides", "require_mount": None},
        {"inbox": "in", "outbox": "out", "done": "did", "error": "err", "offsets": {"top": 1}, "require_mount": "/"},
    ],
}
"""A configuration in which every key is set."""


def paths(tree: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in entries:
        yield (*above, key)
        yield from paths(value, (*above, key))


PATHS = list(paths(WHOLE))

DIGITS = "9" * 4000
FIGURES = [
    "10" * 200,
    DIGITS,
    "-1",
    "0",
    "1e308",
    "-1e308",
    "1e400",
    ".inf",
    "-.inf",
    ".nan",
    "0o777",
    "0x" + "f" * 5000,
]
FIGURES += [
    "1:30",
    "1:30:30.5",
    "0777",
    "1_0",
    "9" * 5000,
    "9" * 5000 + "s",
    DIGITS + "s",
    "0." + DIGITS + "h",
    "1e9999",
]
FIGURES += [DIGITS + "%", DIGITS + ":" + DIGITS, "1:0", "0:1", "-5%", "5 %", "1e5%", "+1", "٣", "٣s", "٣%", "1٣:9"]
PLACES = [
    "/locked/below",
    "/locked",
    "long/" + "x" * 300,
    "x" * 5000,
    "loop",
    "loop/a",
    "file/below",
    "file",
    "/dev/null",
]
PLACES += [
    "/proc/self/fd/0",
    "..",
    ".",
    "/",
    "//",
    "~",
    "a\\0b",
    "hot/inbox",
    "hot/../hot",
    "unix:/x",
    "unix:/" + "é" * 60,
]
PLACES += ["/" + "a/" * 3000, "dangling", "hot/inbox/.expandd", "é\u2028", "\\x07", "\\ud800", "\udcff"]
NAMES = [
    "{stem",
    "{stem}}",
    "{stem!r}",
    "{stem:>99}",
    "{stem.a}",
    "{stem[0]}",
    "{0}",
    "{}",
    "{stem}" * 3000,
    "{stem}\\n",
]
ADDRESSES = [
    "http://[",
    "https://[::1",
    "https://a:99999999999999999999/",
    "https://a:" + DIGITS,
    "[::1]:8",
    "h:0",
    ":",
    "a" * 9000,
]
QUOTED = PLACES + NAMES + ADDRESSES
KINDS = [
    "null",
    "true",
    "yes",
    "[]",
    "{}",
    "[[[[]]]]",
    "{a: {b: 1}}",
    "2001-01-01",
    "2001-99-99",
    "!!binary aGk=",
    "''",
    "' '",
]
KINDS += ["!!python/object:os.system x", "!!int x", "!!set {a}", "&a [*a]", "*nothing", "!!float '1e400'", "=", "<<"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("hostile")
    for place in ("hot", "."):
        directories(base / place)
    directories(base, "in", "out", "did", "err", "metrics", "locked/below")
    (base / "file").write_text("x")
    (base / "secret").write_text("secret\n")
    (base / "secret").chmod(0o600)
    (base / "loop").symlink_to("loop")
    (base / "dangling").symlink_to("nowhere")
    return base


def text(path: tuple[str | int, ...], value: str) -> str:
    """The whole configuration with this YAML text at one key."""
    tree = copy.deepcopy(WHOLE)
    part: Any = tree
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = "@here@"
    return yaml.safe_dump(tree, width=1 << 20).replace("'@here@'", value)


def judge(base: Path, raw: bytes) -> bool:
    """Whether it is refused as a whole: each problem in one line that names a line."""
    config = base / "config.yaml"
    config.write_bytes(raw)
    whole, part = (refusals(judged, config) for judged in (load, state_dir_of))
    for problem in (*whole, *part):
        assert "\n" not in str(problem)
        assert problem.where.rpartition(":")[2].isdigit()
    return bool(whole)


def refusals(judged: Callable[[Path], object], config: Path) -> tuple[Problem, ...]:
    try:
        judged(config)
    except ConfigurationError as error:
        return error.problems
    except Exception as error:
        error.add_note(config.read_bytes().decode("utf-8", "backslashreplace")[:300])
        raise
    return ()


def yaml_of(value: str, base: Path) -> str:
    return '"' + value.replace("/locked", f"{base}/locked").replace('"', "'") + '"'


def hostile(base: Path) -> list[str]:
    return [*FIGURES, *(f"'{figure}'" for figure in FIGURES), *KINDS, *(yaml_of(value, base) for value in QUOTED)]


def test_the_whole_configuration_has_no_config_error_of_its_own(base: Path) -> None:
    assert not judge(base, yaml.safe_dump(WHOLE).encode())


def test_whatever_stands_at_whichever_key_is_taken_or_refused_with_its_line(base: Path) -> None:
    values = hostile(base)

    @given(path=st.sampled_from(PATHS), value=st.sampled_from(values))
    @settings(max_examples=examples(MORE), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def one(path: tuple[str | int, ...], value: str) -> None:
        judge(base, text(path, value).encode("utf-8", "surrogatepass"))

    one()


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 60_000,
        b"{a: " * 60_000,
        b"a:\n" + b"".join(b" " * depth + b"- \n" for depth in range(3000)),
        b"? " * 30_000,
        b"a" * (2 << 20),
        b"- a\n" * 20_000,
        b"".join(b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9) if n else b"1") for n in range(12)),
        b"a: &a {<<: *a}",
        b"\xff\xfea\x00:\x00 \x001\x00",
        b"state_dir: /x\n\xff: 1",
        b"\x00" * 1000,
        b"%YAML 9999999999999999999.1\n---\na: 1",
        b"%TAG ! tag:x,\n--- !y {a: 1}",
        b"'" + b"x" * 500_000,
    ],
)
def test_no_file_is_too_deep_too_long_or_too_odd_to_be_refused(base: Path, raw: bytes) -> None:
    assert judge(base, raw)


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    [problem] = refusals(load, Path("/dev/zero"))

    assert "more than" in problem.found
