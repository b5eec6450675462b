"""A loop over a folder, one image after the other, in the manner of the vendor's sample.

It polls for all images, takes the first notification for its own, deletes it before the result is saved, looks at no
status and knows no time-out. It goes on where results are missing when it is started again.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import httpx

API, POLL, ADDED = os.environ["API"], float(os.environ["POLL"]) / 3, int(os.environ["ADDED"])
INBOX, OUTBOX = Path(sys.argv[1]), Path(os.environ["OUTBOX"])


def expand(api: httpx.Client, path: Path) -> None:
    image_id = api.post(f"{API}/expand/target", files={"file": path.open("rb")}).json()["id_image"]
    api.post(f"{API}/edit/generate", json={"id_image": image_id, "top": 0, "bottom": 0, "left": ADDED, "right": ADDED})
    while True:
        time.sleep(POLL)
        answer = api.post(f"{API}/notification_by_name_json", json={"name_list": "expand_generate,error"}).json()
        for item in answer["notifications_list"]:
            api.request("DELETE", f"{API}/notification/delete_json", json={"id": item["id"]})
            (OUTBOX / path.name).write_bytes(httpx.get(item["data"]["links"][0]["l"]).content)
            return


def main() -> None:
    print("ready", flush=True)
    with httpx.Client(headers={"Authorization": f"Bearer {os.environ['TOKEN']}"}, timeout=None) as api:
        while True:
            for path in sorted(INBOX.iterdir()):
                if not (OUTBOX / path.name).exists():
                    expand(api, path)
            time.sleep(POLL)


main()
