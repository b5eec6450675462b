from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import yaml
from pydantic import BaseModel

from expandd.adapters.config import yaml_marks
from expandd.adapters.config.load import load, schema
from expandd.adapters.config.model import (
    ApiKeys,
    BudgetKeys,
    BurstKeys,
    ConfigKeys,
    FolderDefaults,
    FolderKeys,
    KeepKeys,
    PresetKeys,
    budget_of,
)
from expandd.adapters.config.output_keys import HookKeys, HooksKeys, PageKeys, hooks_of
from expandd.domain.settings import ApiSettings, Hook, HotFolder, Keep, Settings
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
    shown = [data, data["api"], data["keep"], data["defaults"], folder, data["hooks"], data["budget"]]
    models: tuple[type[BaseModel], ...] = (
        ConfigKeys,
        ApiKeys,
        KeepKeys,
        FolderDefaults,
        FolderKeys,
        HooksKeys,
        BudgetKeys,
    )
    for section, model in zip(shown, models, strict=True):
        assert set(section) == set(model.model_fields)
    presets = [*data["presets"].values(), data["folders"][1]["offsets"]]
    assert {key for preset in presets for key in preset} == set(PresetKeys.model_fields)


def test_what_the_example_shows_beside_a_null_can_be_taken_as_it_stands() -> None:
    beside = re.findall(r"^ *# (\w+: \{.*\})$\n *\w+: null$", EXAMPLE.read_text(), re.MULTILINE)
    shown = {key: value for line in beside for key, value in yaml.safe_load(line).items()}
    assert set(shown["on_done"]) | set(shown["on_error"]) == set(HookKeys.model_fields)
    assert HookKeys.model_validate(shown["on_done"]).timeout == Hook().timeout
    assert HookKeys.model_validate(shown["on_error"]).url == "https://example.com/expandd"
    assert set(PageKeys.model_validate(shown["page"]).model_fields_set) == set(PageKeys.model_fields)
    assert set(BurstKeys.model_validate(shown["burst"]).model_fields_set) == set(BurstKeys.model_fields)


def test_the_defaults_that_the_example_states_are_the_real_ones() -> None:
    data = example().data
    assert ApiKeys.model_validate(data["api"]) == ApiKeys()
    assert KeepKeys.model_validate(data["keep"]) == KeepKeys()
    assert FolderDefaults.model_validate(data["defaults"]) == FolderDefaults()
    own = set(ConfigKeys.model_fields) - {"api", "keep", "defaults", "presets", "folders", "stop_timeout"}
    stated = ConfigKeys.model_validate({key: data[key] for key in own})
    assert stated == ConfigKeys()


def test_the_model_and_the_settings_agree_on_keys_and_defaults() -> None:
    api = ApiSettings()
    assert {field.name: getattr(api, field.name) for field in fields(api)} == dict(ApiKeys())
    keep = Keep()
    assert {field.name: getattr(keep, field.name) for field in fields(keep)} == dict(KeepKeys())
    defaults = {field.name: field.default for field in fields(HotFolder) if field.name in FolderDefaults.model_fields}
    assert defaults == {**dict(FolderDefaults()), "budget": budget_of(FolderDefaults().budget)}
    settings, config = Settings(state_dir=Path("/")), ConfigKeys()
    for key in ("workers", "stop_timeout", "keep_credits", "page", "metrics_file"):
        assert getattr(settings, key) == getattr(config, key)
    assert settings.budget == budget_of(config.budget)
    assert settings.hooks == hooks_of(config.hooks, Path)


def test_every_key_of_the_schema_has_a_description() -> None:
    tree = json.loads(schema())
    for section in (tree, *tree["$defs"].values()):
        for key, value in section["properties"].items():
            assert value.get("description"), key
        assert section["additionalProperties"] is False


def test_the_schema_knows_the_ways_a_value_is_written() -> None:
    tree = json.loads(schema())["$defs"]
    assert tree["FolderDefaults"]["properties"]["watch"]["enum"] == ["auto", "events", "poll"]
    assert [kind["type"] for kind in tree["PresetKeys"]["properties"]["top"]["anyOf"]] == ["integer", "string"]
    assert tree["PresetKeys"]["properties"]["anchor"]["default"] == "center"
    for key in ("require_mount", "burst"):
        assert '"null"' in json.dumps(tree["FolderKeys"]["properties"].pop(key))
    assert '"null"' not in json.dumps([tree["FolderKeys"], tree["PresetKeys"]])
