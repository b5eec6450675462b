"""The credentials, from systemd, a file or the environment. Never from the configuration."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from expandd.domain.errors import ConfigurationError, Problem
from expandd.domain.naming import printable
from expandd.domain.settings import ApiSettings

ACCESS_TOKEN = "PIKTID_ACCESS_TOKEN"  # noqa: S105 - the name of a variable
REFRESH_TOKEN = "PIKTID_REFRESH_TOKEN"  # noqa: S105 - the name of a variable
EMAIL = "PIKTID_EMAIL"
PASSWORD = "PIKTID_PASSWORD"  # noqa: S105 - the name of a variable
NAMES = (ACCESS_TOKEN, REFRESH_TOKEN, EMAIL, PASSWORD)

LONGEST_FILE = 1 << 16

_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")
_COMMENT = re.compile(r"\s#")
_LINES = f"Write {ACCESS_TOKEN}=… and {REFRESH_TOKEN}=…, or {EMAIL}=… and {PASSWORD}=…, as lines into it, mode 0600."
_WAYS = (
    f"Put {ACCESS_TOKEN}=… (and {REFRESH_TOKEN}=…), or {EMAIL}=… and {PASSWORD}=…, as lines into a file and name it as "
    "api.credentials_file; or give it to systemd as the credential 'piktid'; or set the same names in the environment."
)
_USABLE = f"{ACCESS_TOKEN}, or {EMAIL} and {PASSWORD}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Credentials:
    """What the API knows the account by: a token pair, an e-mail address with its password, or both.

    `origin` says in words where they come from, `correct` how they are corrected there. `loose_permissions` when others
    on this machine can read that file.
    """

    access_token: str = ""
    refresh_token: str = ""
    email: str = ""
    password: str = ""
    origin: str = ""
    correct: str = ""
    loose_permissions: bool = False

    @property
    def fingerprint(self) -> str:
        """sha256, in hex, of all values: whether the configured ones changed. For the state directory, not for logs."""
        values = (self.access_token, self.refresh_token, self.email, self.password)
        return hashlib.sha256("\0".join(values).encode("utf-8", "surrogateescape")).hexdigest()

    def __repr__(self) -> str:
        given = {
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "email": self.email,
            "password": self.password,
        }
        masked = ", ".join(f"{name}={'***' if value else '-'}" for name, value in given.items())
        return f"Credentials({masked}, origin={self.origin!r})"


def find_credentials(api: ApiSettings, environ: Mapping[str, str]) -> Credentials:
    """The credentials of the first source that exists: systemd's, the configured file, the environment.

    Raises ConfigurationError when there is none, or the first one cannot be used; no value stands in its message.
    """
    for path, origin in _files(api, environ):
        credentials = _from_file(path, origin)
        if credentials:
            return credentials
    given = {name: environ[name] for name in NAMES if environ.get(name)}
    if given:
        return _checked(given, _OF_ENVIRONMENT, "environment")
    raise _none_found(api)


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where credentials come from, in words, and how they are corrected there, in a sentence."""

    words: str
    correct: str


_OF_ENVIRONMENT = _Origin("the environment", "Set it right in the environment, and restart expandd.")


def _of_file(path: Path) -> _Origin:
    where = printable(path)
    return _Origin(f"the file {where}", f"Correct it in {where}: expandd reads that again by itself, within minutes.")


def _of_systemd(unit: str) -> _Origin:
    file = _LOGIN_FILES.get(unit) or (f"/etc/expandd/{found[1]}.piktid" if (found := _INSTANCE.fullmatch(unit)) else "")
    what = f"{file}, or whatever else its LoadCredential= names" if file else "the file that its LoadCredential= names"
    correct = f"Correct {what}, then `systemctl restart {unit}`: systemd hands it over only at a start."
    return _Origin("systemd's credential 'piktid'", correct)


_LOGIN_FILES = {"expandd.service": "/etc/expandd/piktid"}
_INSTANCE = re.compile(r"expandd@([^/]+)\.service")


def _files(api: ApiSettings, environ: Mapping[str, str]) -> Iterator[tuple[Path, _Origin]]:
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory:
        # systemd calls it after the unit.
        unit = Path(directory).name
        yield Path(directory) / "piktid", _of_systemd(unit if unit.endswith(".service") else "expandd.service")
    if api.credentials_file:
        yield api.credentials_file, _of_file(api.credentials_file)


_CONFIGURATIONS = Path("/etc/expandd")
_LOAD = re.compile(r"^\s*LoadCredential(Encrypted)?=(?:piktid:(/.*))?$", re.MULTILINE)
"""The unit's directives that pass the login; without a value they clear earlier ones."""


def handed_over(config: Path) -> Credentials | None:
    """What the service of this configuration gets from systemd, read as root; None where there is no such service.

    Raises ConfigurationError when it cannot be used: then the service does not start.
    """
    if config.absolute().parent != _CONFIGURATIONS or config.suffix != ".yaml":
        return None
    unit = "expandd.service" if config.stem == "config" else f"expandd@{config.stem}.service"
    # With all its drop-ins, in their order. Not every systemd shows this as a property.
    text = (_output("systemctl", "cat", unit) or b"").decode("utf-8", "surrogateescape")
    kinds = {found[1]: found[2] for found in _LOAD.finditer(text)}
    encrypted, named = next(((bool(kind), named) for kind, named in kinds.items() if named), (False, ""))
    if not named:
        return None
    path = Path(named.strip().replace("%i", config.stem))
    origin = replace(_of_systemd(unit), words=f"{printable(path)}, which systemd hands to {unit}")
    if encrypted:
        plain = _output("systemd-creds", "decrypt", "--name=piktid", str(path), "-")
        if plain is None:
            raise _unusable(printable(path), "a login that this machine can decrypt", "none", "Encrypt it anew.")
        return _checked(_parsed(plain.decode("utf-8", "replace"), printable(path)), origin, printable(path))
    credentials = _from_file(path, origin)
    if credentials is None:
        raise _unusable(printable(path), f"the login that systemd hands to {unit}", "no such file", _LINES)
    return credentials


def _output(*command: str) -> bytes | None:
    """What a program prints; None where it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=_PATIENCE).stdout  # noqa: S603 - systemd's own
    except (OSError, subprocess.SubprocessError):
        return None


_PATIENCE = 20.0


DATABASE = "database"
"""What systemd calls the credential that holds the job database's address."""

_A_DATABASE = "one address such as postgresql://USER:PASSWORD@HOST/DATABASE"


def find_database(file: Path, environ: Mapping[str, str]) -> str:
    """The address of the job database: from systemd where it passes one, else from the configured file.

    Raises ConfigurationError where there is none, or it cannot be used; no part of it stands in its message.
    """
    directory = environ.get("CREDENTIALS_DIRECTORY")
    passed = Path(directory) / DATABASE if directory else file
    path = passed if passed.exists() else file
    key, where = "cluster.database_file", printable(path)
    read = _read(path, key)
    if read is None:
        hint = f"Write {_A_DATABASE} into it, mode 0600; or let systemd pass it as the credential '{DATABASE}'."
        raise _unusable(where, "a file with the job database's address", "no such file", hint, key)
    text, status = read
    if path == file and status.st_mode & stat.S_IRWXO:
        raise _unusable(where, "a file of mode 0600", "one that every user can read", "Close it: chmod 600.", key)
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) != 1 or not _DATABASE.fullmatch(lines[0]):
        found = "another line" if len(lines) == 1 else f"{len(lines)} lines"
        raise _unusable(where, _A_DATABASE, found, "Signs such as @ or / in a password are written as %40 or %2F.", key)
    return lines[0]


_DATABASE = re.compile(r"postgres(?:ql)?://[^\s/?#]*(?:/[^\s/?#]+(?:\?\S*)?)")


def _none_found(api: ApiSettings) -> ConfigurationError:
    file = api.credentials_file
    found = f"none ({printable(file)} does not exist)" if file else "none"
    problem = Problem(where="credentials", path="api.credentials_file", expected="credentials", found=found, hint=_WAYS)
    return ConfigurationError((problem,))


def _from_file(path: Path, origin: _Origin) -> Credentials | None:
    """None when there is no such file."""
    where = printable(path)
    if (read := _read(path)) is None:
        return None
    text, status = read
    return _checked(_parsed(text, where), origin, where, loose=bool(status.st_mode & stat.S_IRWXO))


def _read(path: Path, key: str = "credentials") -> tuple[str, os.stat_result] | None:
    """What stands in a file with a secret, and its status; None when there is no such file."""
    where = printable(path)
    try:
        status = path.stat()
        # A FIFO or a device would be waited for without end.
        if not stat.S_ISREG(status.st_mode) or status.st_size > LONGEST_FILE:
            raise _unusable(where, "a small text file", "something else", key=key)
        return path.read_bytes().decode("utf-8-sig"), status
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise _unusable(where, "a file that this user can read", reason, "Check its owner and mode.", key) from error
    except UnicodeDecodeError:
        raise _unusable(where, "text in UTF-8", "other bytes", key=key) from None


def _parsed(text: str, where: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        here = f"{where}:{number}"
        match = _LINE.fullmatch(line)
        if not match:
            raise _unusable(here, f"a line such as {ACCESS_TOKEN}=…", "a line without a name and '='")
        name, value = match[1], match[2]
        if name.upper().startswith("PIKTID_") and name not in NAMES:
            near = get_close_matches(name.upper(), NAMES, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"Names are {', '.join(NAMES)}."
            raise _unusable(here, "a known name", f"'{name}'", hint)
        if name in given:
            raise _unusable(here, "each name once", f"'{name}' twice", "Keep one of them.")
        if name in NAMES:
            given[name] = _unquoted(value, here)
    return given


def _unquoted(value: str, here: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    if _COMMENT.search(value):
        hint = "A comment stands on a line of its own. If the '#' belongs to the value, put quotes around it all."
        raise _unusable(here, "nothing behind the value", "a blank and '#'", hint)
    return value


def _checked(given: Mapping[str, str], origin: _Origin, where: str, *, loose: bool = False) -> Credentials:
    for name in (ACCESS_TOKEN, REFRESH_TOKEN):
        if not re.fullmatch(r"[!-~]*", given.get(name, "")):
            raise _unusable(where, f"a token in {name}", "spaces or signs that no token has", "Copy it once more.")
    login = bool(given.get(EMAIL) and given.get(PASSWORD))
    if not given.get(ACCESS_TOKEN) and not login:
        named = [name for name in NAMES if given.get(name)]
        found = f"only {' and '.join(named)}" if named else "neither"
        raise _unusable(where, _USABLE, found, "Add what is missing.")
    return Credentials(
        access_token=given.get(ACCESS_TOKEN, ""),
        refresh_token=given.get(REFRESH_TOKEN, ""),
        email=given.get(EMAIL, "") if login else "",
        password=given.get(PASSWORD, "") if login else "",
        origin=origin.words,
        correct=origin.correct,
        loose_permissions=loose,
    )


def _unusable(where: str, expected: str, found: str, hint: str = "", key: str = "credentials") -> ConfigurationError:
    return ConfigurationError(
        (Problem(where=where, path=key, expected=expected, found=found, hint=hint),),
    )
