from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from expandd.adapters.config import yaml_marks
from expandd.adapters.config.load import load
from expandd.adapters.config.model import ConfigKeys, FolderKeys, checked, keys_of, schema
from expandd.adapters.config.presets import PresetKeys
from expandd.domain.result_rules import ResultRules
from expandd.domain.settings import ApiSettings, Budget, Burst, FolderDefaults, Hook, Hooks, Keep, PageSettings
from tests.support.configurations import directories

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"


def example() -> yaml_marks.Document:
    return yaml_marks.read(EXAMPLE.read_bytes())


def of(section: type, written: object) -> Any:
    return checked(section, written, Path("/"))


def test_the_example_loads(tmp_path: Path) -> None:
    directories(tmp_path / "expand/stories")
    directories(tmp_path / "expand/print", "in", "out", "done", "error")
    text = EXAMPLE.read_text().replace("/srv/expand", f"{tmp_path}/expand").replace("/var/lib", str(tmp_path))
    path = tmp_path / "config.yaml"
    path.write_text(text)
    settings = load(path)
    assert [folder.preset_name for folder in settings.folders] == ["story", "top 10, bottom 10, left 5%, right 5%"]


def test_the_example_shows_every_key() -> None:
    data = example().data
    folder = {**data["folders"][0], **data["folders"][1], **data["defaults"]}
    shown = [
        data,
        data["api"],
        data["keep"],
        data["defaults"],
        folder,
        data["hooks"],
        data["budget"],
        data["defaults"]["result"],
    ]
    sections = (ConfigKeys, ApiSettings, Keep, FolderDefaults, FolderKeys, Hooks, Budget, ResultRules)
    for keys, section in zip(shown, sections, strict=True):
        assert set(keys) == set(keys_of(section))
    presets = [*data["presets"].values(), data["folders"][1]["offsets"]]
    assert {key for preset in presets for key in preset} == set(keys_of(PresetKeys))


def test_what_the_example_shows_beside_a_null_can_be_taken_as_it_stands() -> None:
    beside = re.findall(r"^ *# (\w+: \{.*\})$\n *\w+: null$", EXAMPLE.read_text(), re.MULTILINE)
    shown = {key: value for line in beside for key, value in yaml.safe_load(line).items()}
    assert set(shown["on_done"]) | set(shown["on_error"]) == set(keys_of(Hook))
    assert of(Hook, shown["on_done"]).timeout == Hook().timeout
    assert of(Hook, shown["on_error"]).url == "https://example.com/expandd"
    for section, key in ((PageSettings, "page"), (Burst, "burst")):
        assert set(shown[key]) == set(keys_of(section))
        assert of(section, shown[key])


def test_the_defaults_that_the_example_states_are_the_real_ones() -> None:
    data = example().data
    assert of(ApiSettings, data["api"]) == ApiSettings()
    assert of(Keep, data["keep"]) == Keep()
    assert of(FolderDefaults, data["defaults"]) == FolderDefaults()
    own = set(keys_of(ConfigKeys)) - {"api", "keep", "defaults", "presets", "folders"}
    sides = {"folders": [{"root": "/hot", "offsets": {"top": 1}}]}
    stated = of(ConfigKeys, {key: data[key] for key in own} | sides)
    assert stated == of(ConfigKeys, sides)


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
