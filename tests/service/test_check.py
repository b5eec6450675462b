# ruff: noqa: E501, ISC004 - whole sentences are compared
from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from decimal import Decimal
from pathlib import Path

import pytest

from expandd.adapters.credentials import Credentials
from expandd.adapters.images.decoder_program import Ready
from expandd.adapters.images.sandbox import Wall
from expandd.adapters.locks import account_told, locked, name_of_account
from expandd.domain.api_types import Account
from expandd.domain.errors import AccountAway, DecoderAway, Later
from expandd.domain.image import ImageFormat
from expandd.domain.pauses import PauseReason
from expandd.domain.settings import Settings
from expandd.service.runtime.check import check

NOW = 1_800_000_000.0
LOGIN = {"PIKTID_ACCESS_TOKEN": "hunter2"}
URL = "https://api.piktid.com/api"


class FakeApi:
    """Answers the one question that check may ask."""

    def __init__(self, answer: Account | Exception) -> None:
        self.answer = answer
        self.asked = 0
        self.open = False

    @asynccontextmanager
    async def factory(self, settings: Settings, credentials: Credentials) -> AsyncIterator[FakeApi]:
        self.open = True
        yield self
        self.open = False

    async def account(self) -> Account:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def configured(base: Path, folders: str = "") -> Path:
    for name in ("inbox", "outbox", "done", "error"):
        (base / "hot" / name).mkdir(parents=True)
    path = base / "config.yaml"
    path.write_text(f"state_dir: state\nfolders:\n  - {{root: hot, offsets: {{top: 100, left: -25%}}}}\n{folders}")
    return path


ALL = Ready(tuple(Wall), tuple(ImageFormat))


class FakeDecoders:
    """What decodes, or the reason why nothing does."""

    def __init__(self, ready: Ready | DecoderAway) -> None:
        self._ready = ready

    async def prove(self) -> Ready:
        if isinstance(self._ready, DecoderAway):
            raise self._ready
        return self._ready


async def checked(
    path: Path,
    answer: Account | Exception,
    environ: dict[str, str] | None = None,
    ready: Ready | DecoderAway = ALL,
) -> tuple[int, list[str]]:
    said: list[str] = []
    api = FakeApi(answer)
    environ = LOGIN if environ is None else environ
    code = await check(
        path,
        environ,
        api_factory=api.factory,
        say=said.append,
        wall=lambda: NOW,
        decoders_factory=lambda: nullcontext(FakeDecoders(ready)),
    )
    assert "hunter2" not in "".join(said)
    return code, [line.replace(f"{path.parent}/", "") for line in said]


def account(left: str | None = "12.5", ahead: float | None = 0.0) -> Account:
    return Account(
        credits=None if left is None else Decimal(left),
        server_time=None if ahead is None else NOW - ahead,
    )


async def test_a_good_configuration_is_told_line_by_line(tmp_path: Path) -> None:
    assert await checked(configured(tmp_path), account()) == (
        0,
        [
            "Configuration: config.yaml is fine.",
            "Folder hot/inbox: preset top 100, left -25%; an image of 1000×800 would become 750×900 "
            "(top 100, bottom 0, left -250, right 0).",
            "Credentials: from the environment.",
            "Images: JPEG, PNG, WEBP, TIFF, HEIC, AVIF, BMP, GIF and JPEG 2000 can be read.",
            f"Login: accepted by {URL}.",
            "Credits: 12.5.",
            "Clock: agrees with the API's.",
        ],
    )


async def test_another_daemon_on_the_same_account_is_named_and_ones_own_is_not(tmp_path: Path) -> None:
    environ = {"PIKTID_EMAIL": "studio@example.com", "PIKTID_PASSWORD": "hunter2"}
    path = configured(tmp_path)
    with account_told(name_of_account(URL, "studio@example.com")):
        _, other = await checked(path, account(), environ=environ)
        (tmp_path / "state").mkdir()
        with locked(tmp_path / "state" / "lock", "The state directory"):
            _, own = await checked(path, account(), environ=environ)

    assert [line for line in other if "works with the same e-mail address" in line]
    assert not [line for line in own if "works with the same e-mail address" in line]


async def test_a_preset_that_does_nothing_to_the_example_says_so(tmp_path: Path) -> None:
    path = configured(tmp_path)
    path.write_text(path.read_text().replace("top: 100, left: -25%", "width: 1000"))
    code, said = await checked(path, account())
    assert code == 0
    assert said[1].startswith("Folder hot/inbox: preset width 1000; an image of 1000×800 would be refused: ")


async def test_every_config_error_of_the_configuration_is_said_and_nobody_is_asked(tmp_path: Path) -> None:
    api = FakeApi(account())
    said: list[str] = []
    path = configured(tmp_path, "  - {root: gone}\n")
    assert await check(path, LOGIN, api_factory=api.factory, say=said.append) == 78
    assert len(said) == 3
    assert said[-1] == "Found 2 errors. Nothing was started; correct the above and check again."
    assert not api.asked


async def test_a_folder_that_would_wait_for_its_mount_is_said(tmp_path: Path) -> None:
    path = configured(tmp_path)
    path.write_text(path.read_text().replace("root: hot,", "root: hot, require_mount: hot,"))
    code, said = await checked(path, account())

    assert code == 4
    assert [line for line in said if line.startswith("Warning: hot/inbox waits: Nothing is mounted at hot,")]


async def test_without_credentials_it_ends_with_78(tmp_path: Path) -> None:
    code, said = await checked(configured(tmp_path), account(), environ={})
    assert code == 78
    assert said[-2].startswith("credentials: api.credentials_file: expected credentials, found none. Put PIKTID_")


async def test_a_credentials_file_that_all_can_read_is_a_warning(tmp_path: Path) -> None:
    path = configured(tmp_path)
    (tmp_path / "secret").write_text("PIKTID_ACCESS_TOKEN=hunter2")
    (tmp_path / "secret").chmod(0o644)
    path.write_text("api: {credentials_file: secret}\n" + path.read_text())
    code, said = await checked(path, account(), environ={})
    assert code == 0
    assert said[2] == "Credentials: from the file secret."
    assert said[3].startswith("Warning: every user of this machine can read that file. Close it: chmod 600")


@pytest.mark.parametrize(
    ("reason", "code", "sentence"),
    [
        (PauseReason.LOGIN_REFUSED, 78, f"Login: refused by {URL}. why"),
        (PauseReason.ENDPOINT_NOT_FOUND, 78, "Service: why"),
        (PauseReason.API_UNREACHABLE, 4, f"Service: why Check the network and api.base_url ({URL}). The daemon waits and goes on by itself."),
        (PauseReason.RATE_LIMITED, 4, "Service: why Check again in a minute; the daemon would wait by itself."),
        (PauseReason.NO_CREDITS, 4, "Credits: why"),
    ],
)  # fmt: skip
async def test_an_api_that_refuses_says_what_to_do(
    tmp_path: Path, reason: PauseReason, code: int, sentence: str
) -> None:
    ended, said = await checked(configured(tmp_path), AccountAway(reason, "why"))
    assert (ended, said[-1]) == (code, sentence)


async def test_an_answer_without_sense_ends_with_4(tmp_path: Path) -> None:
    code, said = await checked(configured(tmp_path), Later("why"))
    assert (code, said[-1]) == (4, f"Service: no useful answer from {URL} (why). Check again in a minute.")


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (account(left="0"), "Warning: credits are 0: nothing can be paid. Buy credits; until then images wait."),
        (account(left=None), "Credits: the API did not say how many there are. Look them up in your account there."),
        (account(ahead=61), "Warning: this machine's clock is 61 s ahead of the API's. Set it right (timedatectl set-ntp true): the times in logs and histories would not match."),
        (account(ahead=-3600), "Warning: this machine's clock is 3600 s behind the API's. Set it right (timedatectl set-ntp true): the times in logs and histories would not match."),
        (account(ahead=60), "Clock: agrees with the API's."),
        (account(ahead=None), "Clock: the API did not say what time it is."),
    ],
)  # fmt: skip
async def test_what_is_odd_but_not_wrong_is_a_line_and_no_failure(
    tmp_path: Path, answer: Account, sentence: str
) -> None:
    code, said = await checked(configured(tmp_path), answer)
    assert code == 0
    assert sentence in said


async def test_walls_that_do_not_stand_are_warned_of(tmp_path: Path) -> None:
    code, said = await checked(configured(tmp_path), account(), ready=Ready((Wall.SECCOMP,), tuple(ImageFormat)))

    assert code == 0
    assert [line for line in said if "Landlock" in line and "seccomp" not in line]


async def test_the_formats_that_can_be_read_are_said_and_those_that_cannot_are_warned_of(tmp_path: Path) -> None:
    config = configured(tmp_path)
    _, all_of_them = await checked(config, account())
    some = tuple(one for one in ImageFormat if one not in {ImageFormat.AVIF, ImageFormat.JPEG2000})
    code, said = await checked(config, account(), ready=Ready(tuple(Wall), some))

    assert "Images: JPEG, PNG, WEBP, TIFF, HEIC, AVIF, BMP, GIF and JPEG 2000 can be read." in all_of_them
    assert not [line for line in all_of_them if "cannot be read" in line]
    assert code == 0
    assert "Images: JPEG, PNG, WEBP, TIFF, HEIC, BMP and GIF can be read." in said
    assert [line for line in said if line.startswith("Warning: AVIF and JPEG 2000 cannot be read")]


async def test_a_decoder_that_cannot_be_started_is_said(tmp_path: Path) -> None:
    code, said = await checked(configured(tmp_path), account(), ready=DecoderAway("python is gone"))

    assert code == 4
    assert [line for line in said if "python is gone" in line]


async def test_offline_nobody_is_asked_and_no_login_is_looked_for(tmp_path: Path) -> None:
    api = FakeApi(account())
    said: list[str] = []
    code = await check(configured(tmp_path), {}, api_factory=api.factory, say=said.append, offline=True)

    assert code == 0
    assert api.asked == 0
    assert said[0].endswith("config.yaml is fine.")
