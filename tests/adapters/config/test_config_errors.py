# ruff: noqa: E501 - whole sentences are compared, one to a line
from __future__ import annotations

from pathlib import Path

import pytest

from expandd.adapters.config.load import load
from expandd.domain.errors import ConfigurationError
from tests.support.configurations import config_errors, directories, loaded


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("worker: 4", ["config.yaml:2: worker: expected a key that belongs here, found 'worker'. Did you mean 'workers'?"]),
        ("settle: 2s", ["config.yaml:2: settle: expected a key that belongs here, found 'settle'. It belongs under defaults: or a folder."]),
        ("workers: four", ["config.yaml:2: workers: expected a whole number from 1 to 256, found 'four'."]),
        ("workers: yes", ["config.yaml:2: workers: expected a whole number from 1 to 256, found yes (which YAML reads as true). A word that is meant as text needs quotes."]),
        ("workers:", ["config.yaml:2: workers: expected a whole number from 1 to 256, found nothing."]),
        ("workers: 1\nworkers: 2", ["config.yaml:3: workers: expected each key once, found 'workers' twice: on line 2 and on line 3. Keep one of them."]),
        ("api: {timeout: 30 sec}", ["config.yaml:2: api.timeout: expected a time such as 500ms, 2s, 10m, 1.5h or 1d, found '30 sec'."]),
        ("api: {timeout: 0}", ["config.yaml:2: api.timeout: expected a time such as 500ms, 2s, 10m, 1.5h or 1d, more than 0 and at most 365d, found 0."]),
        ("api: {poll_interval: 2s}", ["config.yaml:2: api.poll_interval: expected 3s or more, found '2s'. api.piktid.com asks for at most one question in 3 seconds."]),
        ("api: {base_url: ftp://x}", ["config.yaml:2: api.base_url: expected an address such as https://api.piktid.com/api, found 'ftp://x'. It begins with https:// (or http:// for the simulator)."]),
        ("api: {base_url: http://api.piktid.com/api}", ["config.yaml:2: api.base_url: expected https://, found http://. With http, anybody on the way could read your token."]),
        ("api: {generate_extra: {left: 3}}", ["config.yaml:2: api.generate_extra.left: expected a field other than id_image, top, bottom, left and right, found 'left'. expandd sets it for each image; sides belong in a preset."]),
        ("api: {generate_extra: {a: {b: 1}}}", ["config.yaml:2: api.generate_extra.a: expected one word, number, true or false, found a section (b). Lists and sections cannot be sent here."]),
        ("api: [1]", ["config.yaml:2: api: expected a section with keys below it, found a list."]),
        ("presets: {a: {top: 36px}}", ["config.yaml:2: presets.a.top: expected a whole number of pixels, or a percentage such as 25%, found '36px'. Write the number alone, without quotes and without px."]),
        ("presets: {a: {top: 1.5}}", ["config.yaml:2: presets.a.top: expected a whole number of pixels, or a percentage such as 25%, found 1.5."]),
        ("presets: {a: {top: 010}}", ["config.yaml:2: presets.a.top: expected a number without a leading zero, found 010, which YAML reads as the number 8. Leave out the leading zero."]),
        ("presets: {a: {aspect: 9:16}}", ['config.yaml:2: presets.a.aspect: expected text in quotes, found 9:16, which YAML reads as the number 556. Put quotes around it: "9:16".']),
        ("presets: {a: {aspect: wide}}", ["config.yaml:2: presets.a.aspect: expected a ratio such as \"9:16\" or \"1.91:1\", or a number such as 1.5, found 'wide'."]),
        ("presets: {a: {width: 100, anchor: centre}}", ["config.yaml:2: presets.a.anchor: expected center, left, right, top, bottom, top-left, top-right, bottom-left or bottom-right, found 'centre'. Did you mean 'center'?"]),
        ("presets: {a: {top: 1, anchor: left}}", ["config.yaml:2: presets.a.anchor: expected no anchor beside sides, found one. Remove it: the sides already say where the image sits."]),
        ('presets: {a: {top: 1, aspect: "1:1"}}', ["config.yaml:2: presets.a: expected either sides (top, bottom, left, right), or aspect, or width and/or height, found top and aspect together."]),
        ("presets: {a: {}}", ["config.yaml:2: presets.a: expected either sides (top, bottom, left, right), or aspect, or width and/or height, found none of them."]),
        ("presets: {a: {top: 0, left: 0%}}", ["config.yaml:2: presets.a: expected something to add or to crop, found 0 on every side. Give at least one side another number."]),
        ("presets: {a/b: {top: 1}}", ["config.yaml:2: presets.a/b: expected a preset's name without '/' and not beginning with a dot: it may become part of a file name, found 'a/b'."]),
        ("defaults: {watch: off}", ["config.yaml:2: defaults.watch: expected auto, events or poll, found off (which YAML reads as false). A word that is meant as text needs quotes."]),
        ('defaults: {recursive: "true"}', ["config.yaml:2: defaults.recursive: expected true or false, found 'true'. Leave out the quotes."]),
        ("defaults: {originals: deleted}", ["config.yaml:2: defaults.originals: expected move or delete, found 'deleted'. Did you mean 'delete'?"]),
        ("defaults: {settle: 11m}", ["config.yaml:2: defaults.settle: expected settle no longer than settle_max, found settle 660s and settle_max 600s. A file would be given up before it is looked at."]),
        ('defaults: {name: "{stme}{ext}"}', ["config.yaml:2: defaults.name: expected a name such as \"{stem}_expanded{ext}\" (unknown field {stme}; known are {stem}, {ext}, {width}, {height}, {preset}), found '{stme}{ext}'. Did you mean 'stem'?"]),
        ("state_dir: ~/state", ["config.yaml:1: state_dir: expected a path without '~', found '~/state'. Write it in full: a service has another home directory than you."]),
        ("state_dir: no/such/state", ["config.yaml:1: state_dir: expected a directory that can be written, or made, found no/such/state, whose parent is one which does not exist. Make it: mkdir -p no/such (or mount the drive that it is on)."]),
        ("cluster: {lease: 4s}", ["config.yaml:2: cluster.lease: expected a time from 5s to 5m, found '4s'. With less, a busy network looks like a dead host; with more, the images of a dead host wait too long."]),
        ("cluster: {name: a/b}", ["config.yaml:2: cluster.name: expected a name of at most 63 letters, digits, dots, hyphens and underscores, or null for the host name, found 'a/b'."]),
        ('page: {listen: "127.0.0.1:1", title: "a\\nb"}', ["config.yaml:2: page.title: expected a few words on one line, at most 80 characters, found 'a\\nb'."]),
        ("folders: []", ["config.yaml:2: folders: expected at least one hot folder, found a list."]),
        ("folders: {root: hot}", ["config.yaml:2: folders: expected a list, each item beginning with '- ', found a section (root)."]),
        ("folders: [{root: hot}]", ["config.yaml:2: folders.0: expected either preset or offsets, found neither. There are none under presets: yet."]),
        ("folders: [{root: hot, preset: {top: 1}}]", ["config.yaml:2: folders.0.preset: expected the name of a preset, found a section (top). Sides given in place belong under offsets:."]),
        ("presets: {story: {top: 1}}\nfolders: [{root: hot, preset: stroy}]", ["config.yaml:3: folders.0.preset: expected the name of a preset, found 'stroy'. Did you mean 'story'?"]),
        ("presets: {story: {top: 1}}\nfolders: [{root: hot, preset: x}]", ["config.yaml:3: folders.0.preset: expected the name of a preset, found 'x'. Presets are story."]),
        ("presets: {story: {top: 1}}\nfolders: [{root: hot, preset: story, offsets: {top: 1}}]", ["config.yaml:3: folders.0: expected either preset or offsets, found both. Keep one of them."]),
        ("folders: [{inbox: hot/inbox, offsets: {top: 1}}]", ["config.yaml:2: folders.0: expected root, or each of inbox, outbox, done and error, found no outbox, no done and no error. root: DIR stands for DIR/inbox, DIR/outbox, DIR/done, DIR/error."]),
        ("folders: [{root: hot, offsets: {tpo: 1}}]", ["config.yaml:2: folders.0.offsets.tpo: expected a key that belongs here, found 'tpo'. Did you mean 'top'?"]),
        ("workers: [", ["config.yaml:4: the file: expected YAML text, found an error in its form (did not find expected ',' or ']'). Look for a missing colon, bracket or quote, and compare the indentation nearby."]),
        ("api:\n\ttimeout: 3s", ["config.yaml:3: the file: expected YAML text, found a tab in the indentation. Indent with spaces, never with tabs."]),
        ("presets: {a: {top: %25}}", ["config.yaml:2: the file: expected YAML text, found an error in its form (found character that cannot start any token). Put quotes around a value that begins with %, @, ` or another special sign."]),
        ("workers: 1\n---\nworkers: 2", ["config.yaml:3: the file: expected YAML text, found an error in its form (another document). Only one document may stand in the file: remove the second '---'."]),
        ("workers: !!python/name:os.system 4", ["config.yaml:2: workers: expected a plain value, found '4', which YAML cannot read. Put it in quotes."]),
        ("presets: &a {b: *a}", ["config.yaml:2: presets.b.b.b.b.b.b.b.b.b.b.b.b.b.b.b.b.b.b.b.b: expected a file of at most 20 levels and 100000 values, found more. Look for an alias (*name) that stands inside itself."]),
    ],
)  # fmt: skip
def test_each_config_error_says_where_what_was_expected_and_what_to_do(
    tmp_path: Path, text: str, sentences: list[str]
) -> None:
    assert config_errors(tmp_path, text)[:1] == sentences


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("token: abc123", "token"),
        ("api: {password: abc123}", "api.password"),
        ("folders: [{root: hot, offsets: {top: 1}, email: abc123}]", "folders.0.email"),
        ("api: {generate_extra: {access_token: abc123}}", "api.generate_extra.access_token"),
    ],
)
def test_credentials_in_the_file_are_refused_and_not_repeated(tmp_path: Path, text: str, key: str) -> None:
    [sentence] = config_errors(tmp_path, text)
    assert sentence == (
        f"config.yaml:2: {key}: expected no credentials, found '{key.rsplit('.', 1)[-1]}'. Credentials never stand in this "
        "file: put them in the file that api.credentials_file names, as PIKTID_ACCESS_TOKEN=… or PIKTID_EMAIL=… and "
        "PIKTID_PASSWORD=… lines."
    )


@pytest.mark.parametrize(
    "section", ["{database_file: '%s'}", "'%s'", "{name: '%s'}", "{database: '%s'}", "{password: '%s'}"]
)
def test_the_address_of_a_job_database_is_refused_and_not_repeated(tmp_path: Path, section: str) -> None:
    [sentence] = config_errors(tmp_path, "cluster: " + section % "postgresql://expandd:hunter2@host/jobs")
    assert "hunter2" not in sentence


def test_a_login_inside_the_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    [sentence] = config_errors(tmp_path, "api: {base_url: 'https://me:hunter2@api.piktid.com/?token=hunter2'}")
    assert "hunter2" not in sentence


def test_all_config_errors_are_named_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
workers: four
api: {timout: 3s, poll_interval: 1s}
presets:
  story: {aspect: 9:16}
folders:
  - {root: hot, preset: stroy, settle: 11m}
  - {root: gone, offsets: {top: 1}}
  - just text
"""
    assert [sentence.split(" expected")[0] for sentence in config_errors(tmp_path, text)] == [
        "config.yaml:3: workers:",
        "config.yaml:4: api.timout:",
        "config.yaml:4: api.poll_interval:",
        "config.yaml:6: presets.story.aspect:",
        "config.yaml:8: folders.0.preset:",
        "config.yaml:8: folders.0.settle:",
        "config.yaml:9: folders.1.root:",
        "config.yaml:10: folders.2:",
    ]


def test_a_value_that_is_wrong_causes_no_second_config_error(tmp_path: Path) -> None:
    text = "api: {base_url: nonsense, poll_interval: 1s}\ndefaults: {settle: later, settle_max: 1s}"
    assert len(config_errors(tmp_path, text)) == 2


def test_the_poll_limit_of_the_real_service_does_not_bind_others(tmp_path: Path) -> None:
    assert config_errors(tmp_path, "api: {base_url: http://localhost:1/api, poll_interval: 10ms}") == []
    assert config_errors(tmp_path, "api: {base_url: https://notpiktid.com/api, poll_interval: 10ms}") == []
    assert len(config_errors(tmp_path, "api: {base_url: 'https://API.PiktID.com./api', poll_interval: 10ms}")) == 1


def test_a_configuration_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: the file: .* found no such file or directory\. Start"):
        load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (b"", "1: the file: expected YAML text, found an empty file. Start from config.example.yaml."),
        (b"a: 1\nb: \xff", "2: the file: expected YAML text, found bytes that are not UTF-8. Save the file as UTF-8."),
        (b"just words", "1: the file: expected keys such as folders:, found 'just words'."),
        (b"[" * 300_000, "1: the file: expected YAML text, found more than 20 brackets or sections inside each other. Compare it with config.example.yaml."),
        (b"#" * (1 << 20) + b"#", "1: the file: expected YAML text, found more than 1048576 bytes. Is it the right file?"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_configuration_says_so(tmp_path: Path, raw: bytes, found: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(raw)
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert str(caught.value) == f"{path}:{found}"


def test_a_configuration_may_have_a_bom_and_windows_line_ends(tmp_path: Path) -> None:
    directories(tmp_path / "hot")
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbfstate_dir: state\r\nfolders:\r\n  - root: hot\r\n    offsets: {top: 1}\r\n")
    assert load(path).state_dir == tmp_path / "state"


def test_loading_changes_nothing_on_disk(tmp_path: Path) -> None:
    loaded(tmp_path, "")
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "hot/inbox/.expandd").exists()
