from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from pydantic import BaseModel

from expandd.adapters.config import yaml_marks
from expandd.adapters.config.load import load, schema
from expandd.adapters.config.model import ApiKeys, ConfigKeys, FolderKeys, KeepKeys, Manners
from expandd.adapters.config.preset_keys import PresetKeys
from expandd.domain.settings import ApiSettings, HotFolder, Keep, Settings
from tests.support.configurations import directories

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"


def example() -> yaml_marks.Document:
    return yaml_marks.read(EXAMPLE.read_bytes())


def test_the_example_loads(tmp_path: Path) -> None:
    directories(tmp_path / "expand/stories")
    directories(tmp_path / "expand/print", "in", "out", "done", "error")
    text = EXAMPLE.read_text().replace("/srv/expand", f"{tmp_path}/expand").replace("/var/lib", str(tmp_path))
    path = tmp_path / "config.yaml"
    path.write_text(text)
    settings = load(path)
    assert [folder.preset_name for folder in settings.folders] == ["story", "top 10, bottom 10, left 5%, right 5%"]


def test_the_example_shows_every_key_of_the_model() -> None:
    data = example().data
    folder = {**data["folders"][0], **data["folders"][1], **data["defaults"]}
    shown = [data, data["api"], data["keep"], data["defaults"], folder]
    models: tuple[type[BaseModel], ...] = (ConfigKeys, ApiKeys, KeepKeys, Manners, FolderKeys)
    for section, model in zip(shown, models, strict=True):
        assert set(section) == set(model.model_fields)
    presets = [*data["presets"].values(), data["folders"][1]["offsets"]]
    assert {key for preset in presets for key in preset} == set(PresetKeys.model_fields)


def test_the_defaults_that_the_example_states_are_the_real_ones() -> None:
    data = example().data
    assert ApiKeys.model_validate(data["api"]) == ApiKeys()
    assert KeepKeys.model_validate(data["keep"]) == KeepKeys()
    assert Manners.model_validate(data["defaults"]) == Manners()
    assert (data["state_dir"], data["workers"]) == (ConfigKeys().state_dir, ConfigKeys().workers)


def test_the_model_and_the_settings_agree_on_keys_and_defaults() -> None:
    api = ApiSettings()
    assert {field.name: getattr(api, field.name) for field in fields(api)} == dict(ApiKeys())
    keep = Keep()
    assert {field.name: getattr(keep, field.name) for field in fields(keep)} == dict(KeepKeys())
    manners = {field.name: field.default for field in fields(HotFolder) if field.name in Manners.model_fields}
    assert manners == dict(Manners())
    assert Settings(state_dir=Path("/")).workers == ConfigKeys().workers


def test_every_key_of_the_schema_has_a_description() -> None:
    tree = json.loads(schema())
    for section in (tree, *tree["$defs"].values()):
        for key, value in section["properties"].items():
            assert value.get("description"), key
        assert section["additionalProperties"] is False


def test_the_schema_knows_the_ways_a_value_is_written() -> None:
    tree = json.loads(schema())["$defs"]
    assert tree["Manners"]["properties"]["watch"]["enum"] == ["auto", "events", "poll"]
    assert [kind["type"] for kind in tree["PresetKeys"]["properties"]["top"]["anyOf"]] == ["integer", "string"]
    assert tree["PresetKeys"]["properties"]["anchor"]["default"] == "center"
    assert '"null"' in json.dumps(tree["FolderKeys"]["properties"].pop("require_mount"))
    assert '"null"' not in json.dumps([tree["FolderKeys"], tree["PresetKeys"]])
