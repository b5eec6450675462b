"""One image's whole job as a short script does it: upload, generate, poll, download, save."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import httpx

API, OUTBOX = os.environ["API"], Path(os.environ["OUTBOX"])
POLL, ADDED = float(os.environ["POLL"]), int(os.environ["ADDED"])
HEADERS = {"Authorization": f"Bearer {os.environ['TOKEN']}"}


def expand(path: Path) -> None:
    with httpx.Client(headers=HEADERS, timeout=30) as api, path.open("rb") as file:
        image_id = _json(api.post(f"{API}/expand/target", files={"file": file}))["id_image"]
        offsets = {"top": 0, "bottom": 0, "left": ADDED, "right": ADDED}
        _json(api.post(f"{API}/edit/generate", json={"id_image": image_id, **offsets}))
        number, link = _result(api, image_id)
        (OUTBOX / f".{path.name}").write_bytes(httpx.get(link, timeout=60).raise_for_status().content)
        (OUTBOX / f".{path.name}").rename(OUTBOX / path.name)
        api.request("DELETE", f"{API}/notification/delete_json", json={"id": number}).raise_for_status()


def _result(api: httpx.Client, image_id: str) -> tuple[int, str]:
    question = {"name_list": "expand_generate,error", "id_image": image_id}
    while True:
        time.sleep(POLL)
        for item in _json(api.post(f"{API}/notification_by_name_json", json=question))["notifications_list"]:
            return item["id"], item["data"]["links"][0]["l"]


def _json(answer: httpx.Response) -> Any:
    return answer.raise_for_status().json()
