# ruff: noqa: E501 - whole sentences are compared, one to a line
"""What is refused of limits, hooks, the page and the metrics file, each with a sentence that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.configurations import config_errors, loaded

ADDRESS = 'an address such as "127.0.0.1:8080" or unix:/run/expandd/page.sock'
PATTERNS = 'a list of patterns as in .gitignore, such as ["*.xmp", "_draft/"]'
ARGV = "a list of the program's absolute path and its arguments, such as [/usr/local/bin/tell, done]"


def keyless(path: Path, mode: int = 0o600, text: str = "s3cret\n") -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("budget: {day: -1}", "budget.day: expected a number of images from 0 to 10000000, or null for no limit, found -1."),
        ("budget: {day: 1.5}", "budget.day: expected a number of images from 0 to 10000000, or null for no limit, found 1.5."),
        ("budget: {week: 1}", "budget.week: expected a key that belongs here, found 'week'. Keys here are day, month."),
        ("keep_credits: all", "keep_credits: expected a number of credits from 0 to 10000000, or null for no limit, found 'all'."),
        ("keep: {results: 0}", "keep.results: expected a time such as 500ms, 2s, 10m, 1.5h or 1d, at most 365d, or forever, found 0."),
        ("results: 3d", "results: expected a key that belongs here, found 'results'. It belongs under keep:."),
        ("on_done: null", "on_done: expected a key that belongs here, found 'on_done'. It belongs under hooks:."),
        ("defaults: {duplicates: resue}", "defaults.duplicates: expected expand, reuse or skip, found 'resue'. Did you mean 'reuse'?"),
        ("defaults: {burst: {files: 0, within: 10m}}", "defaults.burst.files: expected a number of files from 1 to 10000000, found 0."),
        ("defaults: {burst: {files: 3}}", "defaults.burst: expected the key 'within' in it, found a section (files)."),
        ("defaults: {sidecar: 1}", "defaults.sidecar: expected true or false, found 1."),
        ("defaults: {ignore: '*.xmp'}", f"defaults.ignore: expected {PATTERNS}, found '*.xmp'. Put quotes around each: `*` and `!` mean something else to YAML."),
        ("defaults: {ignore: ['*.xmp', '#x']}", f"defaults.ignore: expected {PATTERNS}, found a list. '#x' names nothing."),
        ("defaults: {ignore: ['!']}", f"defaults.ignore: expected {PATTERNS}, found a list. '!' names nothing."),
        ("hooks: {on_doen: null}", "hooks.on_doen: expected a key that belongs here, found 'on_doen'. Did you mean 'on_done'?"),
        ("hooks: {on_done: {}}", "hooks.on_done: expected either command or url, found neither. Or write null, and nobody is told."),
        ("hooks: {on_done: {comand: [/bin/true]}}", "hooks.on_done.comand: expected a key that belongs here, found 'comand'. Did you mean 'command'?"),
        ("hooks: {on_done: {command: [/bin/true], url: 'https://x'}}", "hooks.on_done: expected either command or url, found both. Keep one of them."),
        ("hooks: {on_done: {command: /bin/true done}}", f"hooks.on_done.command: expected {ARGV}, found '/bin/true done'. No shell reads it: write each word as an item of its own."),
        ("hooks: {on_done: {command: [/bin/true, 3]}}", f"hooks.on_done.command: expected {ARGV}, found a list. Put quotes around each item that is not a word."),
        ("hooks: {on_done: {command: [true, x]}}", f"hooks.on_done.command: expected {ARGV}, found a list. Put quotes around each item that is not a word."),
        ("hooks: {on_done: {command: [bin/true]}}", f"hooks.on_done.command: expected {ARGV}, found a list. Write the program's path in full, beginning with '/'."),
        ("hooks: {on_done: {command: [/no/such]}}", "hooks.on_done.command: expected a program that exists and can be run, found /no/such, which does not exist. Make it, or correct its path."),
        ("hooks: {on_done: {command: [/bin]}}", "hooks.on_done.command: expected a program that exists and can be run, found /bin, which is not a file. Name the file itself."),
        ("hooks: {on_done: {command: [/bin/true], secret_file: open}}", "hooks.on_done.secret_file: expected no secret_file beside command, found one. It signs what is sent to a url; a command needs none."),
        ("hooks: {on_done: {url: ftp://x}}", "hooks.on_done.url: expected an address such as https://example.com/expandd, found 'ftp://x'. It begins with https://."),
        ("hooks: {on_done: {url: 'http://example.com/x'}}", "hooks.on_done.url: expected an address that begins with https://, found 'http://example.com/x'. http is for this machine alone: others could listen in."),
        ("hooks: {on_done: {url: 'https://a:b@example.com/x'}}", "hooks.on_done.url: expected an address such as https://example.com/expandd, without a name or password in it, found 'https://…example.com/x'."),
        ("hooks: {on_done: {url: 'https://x', secret: abc}}", "hooks.on_done.secret: expected no credentials, found 'secret'. A secret never stands in this file: put it into a file of its own, and name that as secret_file."),
        ("hooks: {on_done: {url: 'https://x', secret_file: none}}", "hooks.on_done.secret_file: expected a file with a secret in it that only expandd's user can read, found none, which does not exist. Make it, or correct its path."),
        ("hooks: {on_done: {url: 'https://x', secret_file: open}}", "hooks.on_done.secret_file: expected a file with a secret in it that only expandd's user can read, found open, which every user of this machine can read. Close it: chmod o-rwx open."),
        ("hooks: {on_done: {url: 'https://x', secret_file: empty}}", "hooks.on_done.secret_file: expected a file with a secret in it that only expandd's user can read, found empty, which is empty. Write one line into it."),
        ("page: {}", "page: expected the key 'listen' in it, found an empty section."),
        ("page: {listen: 8080}", f"page.listen: expected {ADDRESS}, found 8080."),
        ("page: {listen: 'localhost:65536'}", f"page.listen: expected {ADDRESS}, found 'localhost:65536'."),
        ("page: {listen: '::1:8080'}", f"page.listen: expected {ADDRESS}, found '::1:8080'."),
        ("page: {listen: '[::g]:8080'}", f"page.listen: expected {ADDRESS}, found '[::g]:8080'."),
        ("page: {listen: 'unix:page.sock'}", f"page.listen: expected {ADDRESS}, whose path is absolute and of at most 107 bytes, found 'unix:page.sock'."),
        ("page: {listen: 'unix:/no/such/page.sock'}", "page.listen: expected a directory for the socket that exists and can be written, found /no/such, which is not there. Make it: mkdir -p /no/such."),
        ("page: {listen: '0.0.0.0:80'}", "page.listen: expected a password_file beside an address that other machines can reach, found '0.0.0.0:80' and none. Everybody there could see the images. Name a file with a password, or listen on 127.0.0.1."),
        ("page: {listen: 'localhost.example.com:80'}", "page.listen: expected a password_file beside an address that other machines can reach, found 'localhost.example.com:80' and none. Everybody there could see the images. Name a file with a password, or listen on 127.0.0.1."),
        ("page: {listen: 'localhost:80', hosts: ['http://x']}", "page.hosts: expected a list of host names, such as [images.example.com], found a list. Without http:// and without a port."),
        ("page: {listen: 'localhost:80', password: x}", "page.password: expected no credentials, found 'password'. A password never stands in this file: put it into a file of its own, and name that as password_file."),
        ("page: {listen: 'localhost:80', password_file: open}", "page.password_file: expected a file with a password in it that only expandd's user can read, found open, which every user of this machine can read. Close it: chmod o-rwx open."),
        ("metrics_file: no/such/expandd.prom", "metrics_file: expected a directory for the metrics file that exists and can be written, found no/such, which is not there. Make it: mkdir -p no/such."),
        ("metrics_file: expandd.txt", "metrics_file: expected a file whose name ends in .prom, found expandd.txt. A node exporter reads no other."),
    ],
)  # fmt: skip
def test_each_config_error_says_what_was_expected_and_what_to_do(tmp_path: Path, text: str, sentence: str) -> None:
    keyless(tmp_path / "open", 0o604)
    keyless(tmp_path / "empty", text="")
    assert config_errors(tmp_path, text) == [f"config.yaml:2: {sentence}"]


def test_a_section_that_is_incomplete_without_its_error_hides_no_other_error(tmp_path: Path) -> None:
    text = "page: {listen: 8080}\ndefaults: {burst: {files: 0, within: 10m}}\nmetrics_file: expandd.txt"
    assert [error.split()[1] for error in config_errors(tmp_path, text)] == [
        "page.listen:",
        "defaults.burst.files:",
        "metrics_file:",
    ]


def test_a_file_that_the_group_may_read_is_no_config_error(tmp_path: Path) -> None:
    keyless(tmp_path / "secret", 0o640)
    hooks = loaded(tmp_path, "hooks: {on_done: {url: 'http://127.0.0.1:9/x', secret_file: secret}}").hooks
    assert hooks.on_done is not None
    assert hooks.on_done.secret_file == tmp_path / "secret"


def test_the_key_of_a_secret_file_is_misspelt_once(tmp_path: Path) -> None:
    [sentence] = config_errors(tmp_path, "hooks:\n  on_done: {url: 'https://x', secret_fiel: x}")
    assert sentence.startswith("config.yaml:3: hooks.on_done.secret_fiel:")


def test_a_directory_that_systemd_makes_at_the_start_may_still_be_missing(tmp_path: Path) -> None:
    for name in ("expandd", "expandd-no-such-instance"):
        found = config_errors(tmp_path, f"page: {{listen: 'unix:/run/{name}/page.sock'}}")
        assert found == [] or Path(f"/run/{name}").exists()
    assert config_errors(tmp_path, "page: {listen: 'unix:/run/expandd/no-such/page.sock'}") != []
