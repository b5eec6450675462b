from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from expandd.domain.offsets import Amount, Anchor, Aspect, Canvas, Sides, Unit
from expandd.domain.settings import (
    ApiSettings,
    Budget,
    Burst,
    Duplicates,
    Hook,
    Hooks,
    HotFolder,
    Keep,
    Originals,
    PageSettings,
    Settings,
    Watch,
)
from tests.support.configurations import directories, loaded


def preset(base: Path, offsets: str) -> Any:
    return loaded(base, f"folders: [{{root: hot, offsets: {offsets}}}]").folders[0]


def test_what_is_left_out_is_the_default_of_the_settings(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "")
    hot = tmp_path / "hot"
    assert settings == Settings(
        state_dir=tmp_path / "state",
        folders=(
            HotFolder(
                inbox=hot / "inbox",
                outbox=hot / "outbox",
                done=hot / "done",
                error=hot / "error",
                preset=Sides(top=Amount(Fraction(1))),
                preset_name="top 1",
            ),
        ),
    )


def test_every_key_reaches_the_settings(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
workers: 2
api:
  base_url: http://127.0.0.1:8080/api/
  generate_path: /expand/generate
  generate_extra: {plan: pro, seed: 7, clean: true, none: null}
  poll_interval: 50ms
  timeout: 1.5
  unknown_wait: 1.5h
  credentials_file: secrets/piktid
  allow_private_links: true
presets:
  bleed: {top: 36}
defaults: {settle: 1s, settle_max: 1d, recursive: true, name: "{stem}_x{ext}"}
folders:
  - root: hot
    preset: bleed
    settle: 3s
    scan_interval: 5m
    watch: poll
    originals: delete
    recursive: false
""",
    )
    assert settings.workers == 2
    assert settings.api == ApiSettings(
        base_url="http://127.0.0.1:8080/api",
        generate_path="/expand/generate",
        generate_extra={"plan": "pro", "seed": 7, "clean": True, "none": None},
        poll_interval=0.05,
        timeout=1.5,
        unknown_wait=5400,
        credentials_file=tmp_path / "secrets/piktid",
        allow_private_links=True,
    )
    folder = settings.folders[0]
    assert (folder.settle, folder.settle_max, folder.scan_interval) == (3, 86400, 300)
    assert (folder.watch, folder.originals, folder.recursive) == (Watch.POLL, Originals.DELETE, False)
    assert (folder.name, folder.preset_name) == ("{stem}_x{ext}", "bleed")


def test_patterns_are_those_of_the_defaults_or_the_folders_own(tmp_path: Path) -> None:
    defaults = 'defaults: {ignore: ["*.xmp", "/drafts/**/*.png", "!drafts/final/*.png"]}\n'
    hot, two = "{root: hot, offsets: {top: 1}}", "{root: two, offsets: {top: 1}, ignore: []}"
    one, other = loaded(tmp_path, f"{defaults}folders: [{hot}, {two}]\n", "two").folders
    asked = ("a.XMP", "sub/a.xmp", "Drafts/x/a.png", "drafts/final/a.png", "sub/drafts/a.png", "a.png")

    assert [one.ignore.find(name) for name in asked] == ["*.xmp", "*.xmp", "/drafts/**/*.png", None, None, None]
    assert other.ignore.patterns == ()


def test_every_limit_reaches_the_settings(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
keep: {journal: forever, done: 7d, results: forever}
budget: {day: 100, month: 2000}
keep_credits: 0
defaults: {duplicates: skip, sidecar: true, budget: {day: 5, month: 50}, burst: {files: 200, within: 10m}}
folders:
  - {root: hot, offsets: {top: 1}}
  - {root: two, offsets: {top: 1}, duplicates: reuse, sidecar: false, budget: {month: 0}, burst: null}
""",
        "two",
    )
    one, two = settings.folders
    assert settings.keep == Keep(journal=None, done=7 * 86400.0, results=None)
    assert (settings.budget, settings.keep_credits) == (Budget(day=100, month=2000), 0)
    assert (one.duplicates, one.sidecar) == (Duplicates.SKIP, True)
    assert (one.budget, one.burst) == (Budget(day=5, month=50), Burst(files=200, within=600.0))
    assert (two.duplicates, two.sidecar) == (Duplicates.REUSE, False)
    assert (two.budget, two.burst) == (Budget(day=None, month=0), None)


def test_everything_that_is_told_reaches_the_settings(tmp_path: Path) -> None:
    for name in ("secret", "password"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text("something\n")
    settings = loaded(
        tmp_path,
        """
hooks:
  on_done: {command: [/bin/echo, "it's $HOME"], timeout: 5s}
  on_error: {url: "https://example.com/hook?x=1", secret_file: secret}
page: {listen: "0.0.0.0:8080", hosts: [images.example.com], password_file: password}
metrics_file: expandd.prom
""",
    )
    assert settings.hooks == Hooks(
        on_done=Hook(command=("/bin/echo", "it's $HOME"), timeout=5.0),
        on_error=Hook(url="https://example.com/hook?x=1", secret_file=tmp_path / "secret", timeout=30.0),
    )
    assert settings.page == PageSettings(
        listen="0.0.0.0:8080", hosts=("images.example.com",), password_file=tmp_path / "password"
    )
    assert settings.metrics_file == tmp_path / "expandd.prom"


@pytest.mark.parametrize("listen", ["127.9.9.9:0", "localhost:80", '"[::1]:8080"', "unix:/tmp/page.sock"])
def test_a_page_for_this_machine_alone_needs_no_password(tmp_path: Path, listen: str) -> None:
    page = loaded(tmp_path, f"page: {{listen: {listen}}}").page
    assert page == PageSettings(listen=listen.strip('"'))


def test_a_section_left_empty_is_a_section_left_out(tmp_path: Path) -> None:
    assert loaded(tmp_path, "api:\npresets:\ndefaults:\nhooks:\nbudget:\npage:\n") == loaded(tmp_path, "")


def test_each_directory_can_stand_by_itself_beside_a_root(tmp_path: Path) -> None:
    directories(tmp_path, "results")
    folder = loaded(tmp_path, "folders: [{root: hot, outbox: results, offsets: {top: 1}}]").folders[0]
    assert (folder.inbox, folder.outbox) == (tmp_path / "hot/inbox", tmp_path / "results")


def test_a_folder_that_deletes_originals_needs_no_done(tmp_path: Path) -> None:
    directories(tmp_path, "in", "out", "err")
    text = "folders: [{inbox: in, outbox: out, error: err, originals: delete, offsets: {top: 1}}]"
    assert loaded(tmp_path, text).folders[0].done == tmp_path / "done"


def test_merge_keys_and_aliases_work(tmp_path: Path) -> None:
    directories(tmp_path / "two")
    text = """
folders:
  - &base {root: hot, offsets: {top: 1}, settle: 5s, watch: poll}
  - {<<: *base, root: two, settle: 6s}
"""
    one, two = loaded(tmp_path, text).folders
    assert (one.settle, two.settle, two.watch, two.preset) == (5, 6, Watch.POLL, one.preset)


@pytest.mark.parametrize(
    ("written", "meant", "name"),
    [
        (
            "{top: 10, left: 25%}",
            Sides(top=Amount(Fraction(10)), left=Amount(Fraction(25), Unit.PERCENT)),
            "top 10, left 25%",
        ),
        ("{right: -12.5%}", Sides(right=Amount(Fraction(-25, 2), Unit.PERCENT)), "right -12.5%"),
        ('{aspect: "9:16"}', Aspect(ratio=Fraction(9, 16)), "aspect 9x16"),
        (
            '{aspect: "1.91:1", anchor: top-left}',
            Aspect(ratio=Fraction(191, 100), anchor=Anchor.TOP_LEFT),
            "aspect 191x100 top-left",
        ),
        ("{aspect: 1.5}", Aspect(ratio=Fraction(3, 2)), "aspect 3x2"),
        (
            "{width: 2400, height: 800, anchor: left}",
            Canvas(width=2400, height=800, anchor=Anchor.LEFT),
            "2400x800 left",
        ),
        ("{height: 800}", Canvas(height=800), "height 800"),
    ],
)
def test_a_preset_in_place_is_what_it_says(tmp_path: Path, written: str, meant: object, name: str) -> None:
    folder = preset(tmp_path, written)
    assert (folder.preset, folder.preset_name) == (meant, name)
