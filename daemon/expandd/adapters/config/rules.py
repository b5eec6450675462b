"""Owns what must hold between keys of the configuration: folders and their presets, times, the real service."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from expandd.adapters.config.config_errors import KeyPath, Mistake, did_you_mean, listed
from expandd.adapters.config.messages import WHERE_CREDENTIALS_BELONG, looks_secret
from expandd.adapters.config.model import DIRECTORIES, ApiKeys, ConfigKeys, FolderKeys, Manners
from expandd.adapters.config.preset_keys import PresetKeys, preset_mistake
from expandd.adapters.config.yaml_marks import Document
from expandd.domain.settings import Originals

REAL_SERVICE = "piktid.com"
FASTEST_POLL = 3.0
GENERATE_FIELDS = ("id_image", "top", "bottom", "left", "right")


def manners_of(folder: FolderKeys, defaults: Manners) -> Manners:
    """The folder's manners: its own where it states them, else the defaults."""
    own = {key: getattr(folder, key) for key in folder.model_fields_set if key in Manners.model_fields}
    return defaults.model_copy(update=own)


def rule_mistakes(config: ConfigKeys, document: Document, bad: set[KeyPath]) -> Iterator[Mistake]:
    """What is wrong between keys. `config` lacks the values at `bad`, which are reported already."""
    if not document.given(("folders",)):
        yield Mistake(path=(), expected="folders:, a list of hot folders", found="none", hint="Nothing would be done.")
    yield from _api(config.api, document, bad)
    for name, preset in config.presets.items():
        yield from _preset(("presets", name), preset, document, bad)
    yield from _settle(("defaults",), config.defaults, document, bad)
    for number, folder in enumerate(config.folders):
        if ("folders", number) not in bad:
            yield from _folder(number, folder, config, document, bad)


def _folder(
    number: int,
    folder: FolderKeys,
    config: ConfigKeys,
    document: Document,
    bad: set[KeyPath],
) -> Iterator[Mistake]:
    path: KeyPath = ("folders", number)
    yield from _directories(path, manners_of(folder, config.defaults), document)
    yield from _one_preset(path, folder, document)
    if folder.offsets is not None:
        yield from _preset((*path, "offsets"), folder.offsets, document, bad)
    if folder.model_fields_set & {"settle", "settle_max"}:
        yield from _settle(path, manners_of(folder, config.defaults), document, bad)


def _directories(path: KeyPath, manners: Manners, document: Document) -> Iterator[Mistake]:
    if document.given((*path, "root")):
        return
    needed = [key for key in DIRECTORIES if key != "done" or manners.originals is Originals.MOVE]
    lacking = [key for key in needed if not document.given((*path, key))]
    if lacking:
        found = listed(f"no {key}" for key in lacking)
        hint = f"root: DIR stands for {', '.join('DIR/' + key for key in DIRECTORIES)}."
        yield Mistake(path=path, expected=f"root, or each of {listed(needed)}", found=found, hint=hint)


def _one_preset(path: KeyPath, folder: FolderKeys, document: Document) -> Iterator[Mistake]:
    given = [key for key in ("preset", "offsets") if document.given((*path, key))]
    known = list(document.value(("presets",)) or ()) if isinstance(document.value(("presets",)), dict) else []
    if len(given) != 1:
        found = "both" if given else "neither"
        hint = "Keep one of them." if given else _known_presets(known)
        yield Mistake(path=path, expected="either preset or offsets", found=found, hint=hint)
    if folder.preset is not None and folder.preset not in known:
        hint = did_you_mean(folder.preset, known) or _known_presets(known)
        found = document.shown((*path, "preset"))
        yield Mistake(path=(*path, "preset"), expected="the name of a preset", found=found, hint=hint)


def _known_presets(known: list[str]) -> str:
    return f"Presets are {listed(known)}." if known else "There are none under presets: yet."


def _preset(path: KeyPath, preset: PresetKeys, document: Document, bad: set[KeyPath]) -> Iterator[Mistake]:
    written = document.value(path)
    given = set(written) & set(PresetKeys.model_fields) if isinstance(written, dict) else set()
    mistake = preset_mistake(path, given, preset)
    misspelt = any(other[:-1] == path and other[-1] not in PresetKeys.model_fields for other in bad if other)
    if mistake and not misspelt:
        yield mistake


def _settle(path: KeyPath, manners: Manners, document: Document, bad: set[KeyPath]) -> Iterator[Mistake]:
    own = [(*path, key) for key in ("settle", "settle_max")]
    if manners.settle <= manners.settle_max or bad & {*own, ("defaults", "settle"), ("defaults", "settle_max")}:
        return
    where = next(key for key in own if document.given(key))
    found = f"settle {manners.settle:g}s and settle_max {manners.settle_max:g}s"
    hint = "A file would be given up before it is looked at."
    yield Mistake(path=where, expected="settle no longer than settle_max", found=found, hint=hint)


def _api(api: ApiKeys, document: Document, bad: set[KeyPath]) -> Iterator[Mistake]:
    for key in api.generate_extra:
        yield from _extra(("api", "generate_extra", key), key)
    address = urlsplit(api.base_url)
    host = (address.hostname or "").rstrip(".")
    if ("api", "base_url") in bad or not (host == REAL_SERVICE or host.endswith("." + REAL_SERVICE)):
        return
    if api.poll_interval < FASTEST_POLL:
        path: KeyPath = ("api", "poll_interval")
        hint = f"{host} asks for at most one question in 3 seconds."
        yield Mistake(path=path, expected="3s or more", found=document.shown(path), hint=hint)
    if address.scheme != "https":
        hint = "With http, anybody on the way could read your token."
        yield Mistake(path=("api", "base_url"), expected="https://", found="http://", hint=hint)


def _extra(path: KeyPath, key: str) -> Iterator[Mistake]:
    if key in GENERATE_FIELDS:
        hint = "expandd sets it for each image; sides belong in a preset."
        yield Mistake(path=path, expected=f"a field other than {listed(GENERATE_FIELDS)}", found=f"'{key}'", hint=hint)
    elif looks_secret(key):
        yield Mistake(path=path, expected="no credentials", found=f"'{key}'", hint=WHERE_CREDENTIALS_BELONG)
