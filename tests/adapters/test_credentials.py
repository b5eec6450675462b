# ruff: noqa: E501 - whole sentences are compared
from __future__ import annotations

from pathlib import Path

import pytest

from expandd.adapters.credentials import Credentials, find_credentials, find_database, handed_over
from expandd.domain.errors import ConfigurationError
from expandd.domain.settings import ApiSettings

TOKENS = {"PIKTID_ACCESS_TOKEN": "env-access", "PIKTID_REFRESH_TOKEN": "env-refresh"}


def file(path: Path, text: str, mode: int = 0o600) -> ApiSettings:
    path.write_bytes(text.encode())
    path.chmod(mode)
    return ApiSettings(credentials_file=path)


def refused(api: ApiSettings, environ: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        find_credentials(api, environ)
    assert len(caught.value.problems) == 1
    return str(caught.value)


def test_systemd_comes_before_the_file_and_the_file_before_the_environment(tmp_path: Path) -> None:
    api = file(tmp_path / "file", "PIKTID_ACCESS_TOKEN=file-access")
    (tmp_path / "piktid").write_text("PIKTID_ACCESS_TOKEN=systemd-access")
    systemd = {**TOKENS, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_credentials(api, systemd).access_token == "systemd-access"
    assert find_credentials(api, systemd).origin == "systemd's credential 'piktid'"
    assert find_credentials(api, TOKENS).access_token == "file-access"
    assert find_credentials(api, TOKENS).origin == f"the file {tmp_path / 'file'}"
    assert find_credentials(ApiSettings(), TOKENS).access_token == "env-access"
    assert find_credentials(ApiSettings(), TOKENS).origin == "the environment"


def test_each_credential_source_has_its_remedy(tmp_path: Path) -> None:
    api = file(tmp_path / "file", "PIKTID_ACCESS_TOKEN=a")
    said = {"environment": find_credentials(ApiSettings(), TOKENS).correct, "file": find_credentials(api, {}).correct}
    for unit in ("expandd.service", "expandd@shop.service"):
        (tmp_path / unit).mkdir()
        (tmp_path / unit / "piktid").write_text("PIKTID_ACCESS_TOKEN=a")
        said[unit] = find_credentials(api, {"CREDENTIALS_DIRECTORY": str(tmp_path / unit)}).correct

    assert "restart expandd" in said["environment"]
    assert "by itself" in said.pop("file")
    assert not any("by itself" in text for text in said.values())
    assert said["expandd.service"].startswith("Correct /etc/expandd/piktid, ")
    assert "systemctl restart expandd.service" in said["expandd.service"]
    assert said["expandd@shop.service"].startswith("Correct /etc/expandd/shop.piktid, ")


def test_a_configuration_of_no_service_is_handed_nothing(tmp_path: Path) -> None:
    assert handed_over(tmp_path / "config.yaml") is None


def test_a_source_that_does_not_exist_is_passed_over(tmp_path: Path) -> None:
    api = ApiSettings(credentials_file=tmp_path / "none")
    environ = {**TOKENS, "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_credentials(api, environ).refresh_token == "env-refresh"


def test_a_source_with_tokens_and_login_gives_both(tmp_path: Path) -> None:
    text = (
        "\ufeff# the account\r\n\r\nexport PIKTID_ACCESS_TOKEN = 'a=b'\r\nPIKTID_REFRESH_TOKEN=\"r\"\r\n"
        "  PIKTID_EMAIL=me@example.com\r\nPIKTID_PASSWORD= pa ss#'word \r\nOTHER=ignored"
    )
    assert find_credentials(file(tmp_path / "file", text), {}) == Credentials(
        access_token="a=b",
        refresh_token="r",
        email="me@example.com",
        password="pa ss#'word",
        origin=f"the file {tmp_path / 'file'}",
        correct=f"Correct it in {tmp_path / 'file'}: expandd reads that again by itself, within minutes.",
    )


def test_a_sign_of_a_comment_in_quotes_belongs_to_the_value(tmp_path: Path) -> None:
    api = file(tmp_path / "file", "PIKTID_EMAIL=a#b\nPIKTID_PASSWORD='pass # word'\n # a comment")
    found = find_credentials(api, {})

    assert (found.email, found.password) == ("a#b", "pass # word")


@pytest.mark.parametrize(("mode", "loose"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_file_that_others_can_read_is_told_apart(tmp_path: Path, mode: int, loose: bool) -> None:
    api = file(tmp_path / "file", "PIKTID_ACCESS_TOKEN=x", mode)
    assert find_credentials(api, {}).loose_permissions is loose


def test_without_any_credentials_the_ways_to_give_them_are_named(tmp_path: Path) -> None:
    ways = (
        "Put PIKTID_ACCESS_TOKEN=… (and PIKTID_REFRESH_TOKEN=…), or PIKTID_EMAIL=… and PIKTID_PASSWORD=…, as lines into "
        "a file and name it as api.credentials_file; or give it to systemd as the credential 'piktid'; or set the same "
        "names in the environment."
    )
    assert refused(ApiSettings(), {}) == f"credentials: api.credentials_file: expected credentials, found none. {ways}"
    named = ApiSettings(credentials_file=tmp_path / "none")
    assert f"found none ({tmp_path}/none does not exist)." in refused(named, {})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", ": credentials: expected PIKTID_ACCESS_TOKEN, or PIKTID_EMAIL and PIKTID_PASSWORD, found neither. Add what is missing."),
        ("PIKTID_EMAIL=hunter2", ": credentials: expected PIKTID_ACCESS_TOKEN, or PIKTID_EMAIL and PIKTID_PASSWORD, found only PIKTID_EMAIL. Add what is missing."),
        ("PIKTID_REFRESH_TOKEN=hunter2", ": credentials: expected PIKTID_ACCESS_TOKEN, or PIKTID_EMAIL and PIKTID_PASSWORD, found only PIKTID_REFRESH_TOKEN. Add what is missing."),
        ("# x\nhunter2", ":2: credentials: expected a line such as PIKTID_ACCESS_TOKEN=…, found a line without a name and '='."),
        ("PIKTID_ACESS_TOKEN=hunter2", ":1: credentials: expected a known name, found 'PIKTID_ACESS_TOKEN'. Did you mean 'PIKTID_ACCESS_TOKEN'?"),
        ("PIKTID_EMAIL=hunter2\nPIKTID_EMAIL=b", ":2: credentials: expected each name once, found 'PIKTID_EMAIL' twice. Keep one of them."),
        ("PIKTID_EMAIL=a\nPIKTID_PASSWORD=hunter2 # mine", ":2: credentials: expected nothing behind the value, found a blank and '#'. A comment stands on a line of its own. If the '#' belongs to the value, put quotes around it all."),
        ("PIKTID_ACCESS_TOKEN='hunter2' # mine", ":1: credentials: expected nothing behind the value, found a blank and '#'. A comment stands on a line of its own. If the '#' belongs to the value, put quotes around it all."),
        ("PIKTID_ACCESS_TOKEN=hunter2 x", ": credentials: expected a token in PIKTID_ACCESS_TOKEN, found spaces or signs that no token has. Copy it once more."),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_says_why_and_never_what_is_in_it(tmp_path: Path, text: str, sentence: str) -> None:
    said = refused(file(tmp_path / "file", text), TOKENS)
    assert said == f"{tmp_path / 'file'}{sentence}"
    assert "hunter2" not in said


def test_what_is_no_text_file_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff")
    assert "text in UTF-8" in refused(ApiSettings(credentials_file=tmp_path / "file"), {})
    assert "a small text file" in refused(ApiSettings(credentials_file=Path("/dev/zero")), {})
    assert "a small text file" in refused(ApiSettings(credentials_file=tmp_path), {})
    assert "not a directory" in refused(ApiSettings(credentials_file=tmp_path / "file/x"), {})


def test_half_a_login_in_the_environment_is_refused() -> None:
    assert "environment: credentials: " in refused(ApiSettings(), {"PIKTID_PASSWORD": "hunter2"})


def test_no_secret_stands_in_the_representation() -> None:
    credentials = Credentials(access_token="s1", refresh_token="s2", email="s3", origin="the environment")
    assert repr(credentials) == (
        "Credentials(access_token=***, refresh_token=***, email=***, password=-, origin='the environment')"
    )
    assert str(credentials) == repr(credentials)


def test_the_fingerprint_changes_with_every_value_and_with_nothing_else() -> None:
    one = Credentials(access_token="a", refresh_token="b", email="c", password="d")
    others = [
        Credentials(access_token="ab", email="c", password="d"),
        Credentials(access_token="a", refresh_token="b", email="c", password="e"),
        Credentials(access_token="a", refresh_token="b"),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 4
    moved = Credentials(
        access_token="a", refresh_token="b", email="c", password="d", origin="x", loose_permissions=True
    )
    assert moved.fingerprint == one.fingerprint
    assert len(one.fingerprint) == 64


def test_the_job_databases_address_comes_from_systemd_before_the_file(tmp_path: Path) -> None:
    own, passed = tmp_path / "own", tmp_path / "database"
    own.write_text("# by the administrator\npostgresql://expandd:s3cret@db.example:5432/jobs?sslmode=require\n")
    own.chmod(0o600)
    assert find_database(own, {}) == "postgresql://expandd:s3cret@db.example:5432/jobs?sslmode=require"
    assert find_database(own, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).endswith("sslmode=require")
    # One that only root can read is passed on by systemd.
    passed.write_text("postgres://a@h1,h2/jobs")
    assert find_database(tmp_path / "nowhere", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "postgres://a@h1,h2/jobs"


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (None, 0o600, "no such file"),
        ("postgresql://u:s3cret@h/jobs", 0o604, "chmod 600"),
        ("postgresql://u:s3cret@h/", 0o600, "expected one address such as"),
        ("mysql://u:s3cret@h/jobs", 0o600, "expected one address such as"),
        ("host=h password=s3cret", 0o600, "expected one address such as"),
        ("postgresql://u:s3/cret@h/jobs", 0o600, "written as %40 or %2F"),
        ("postgresql://u:s3cret@h/a\npostgresql://u:s3cret@h/b", 0o600, "found 2 lines"),
        ("", 0o600, "found 0 lines"),
    ],
)
def test_an_address_that_is_none_is_refused_and_not_repeated(
    tmp_path: Path, text: str | None, mode: int, said: str
) -> None:
    path = tmp_path / "database"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(ConfigurationError) as caught:
        find_database(path, {})

    assert said in str(caught.value)
    assert "s3" not in str(caught.value)
    assert "cluster.database_file" in str(caught.value)
