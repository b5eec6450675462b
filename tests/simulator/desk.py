"""What the simulator's tests share: a server with clients, and images to send."""

import io
import random
import ssl
from typing import Any

import httpx
from PIL import Image

from expandd.simulator.server import Simulator

OFFSETS = {"top": 10, "bottom": 0, "left": -5, "right": 20}


def an_image(
    width: int = 80, height: int = 70, kind: str = "PNG", seed: int = 1, *, noise: bool = False, **how: Any
) -> bytes:
    """An encoded image of smooth random colour, or of noise, different for each seed."""
    size = (width, height) if noise else (8, 8)
    image = Image.frombytes("RGB", size, random.Random(seed).randbytes(3 * size[0] * size[1]))
    buffer = io.BytesIO()
    image.resize((width, height), Image.Resampling.BICUBIC).save(buffer, kind, **how)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


class Desk:
    """A running server, a client with its starting token, and one without any."""

    def __init__(self, server: Simulator) -> None:
        self.server = server
        # Nothing here speaks TLS, and reading the certificates would take half of each test's time.
        verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.api = httpx.Client(
            base_url=server.api_url, headers={"Authorization": "Bearer simulator-access"}, timeout=30, verify=verify
        )
        self.plain = httpx.Client(timeout=30, verify=verify)

    def close(self) -> None:
        self.api.close()
        self.plain.close()

    def send(self, data: bytes | None = None, name: str = "pic.png", part: str = "file") -> httpx.Response:
        return self.api.post("/expand/target", files={part: (name, an_image() if data is None else data)})

    def upload(self, data: bytes | None = None) -> str:
        answer = self.send(data)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id_image"])

    def generate(self, id_image: str, **fields: Any) -> httpx.Response:
        return self.api.post("/edit/generate", json={"id_image": id_image, **OFFSETS, **fields})

    def accepted(self, data: bytes | None = None, **fields: Any) -> str:
        """Upload and generate; the image's id."""
        id_image = self.upload(data)
        answer = self.generate(id_image, **fields)
        assert answer.status_code == 200, answer.text
        return id_image

    def poll(self, **filters: Any) -> httpx.Response:
        return self.api.post("/notification_by_name_json", json=filters)

    def listed(self, **filters: Any) -> list[Any]:
        answer = self.poll(**filters)
        assert answer.status_code == 200, answer.text
        found: list[Any] = answer.json()["notifications_list"]
        return found

    def finished(self, data: bytes | None = None, **fields: Any) -> dict[str, Any]:
        """Upload, generate and let it finish; its one notification."""
        id_image = self.accepted(data, **fields)
        self.server.clock.advance(2)
        (notification,) = self.listed(id_image=id_image)
        assert isinstance(notification, dict)
        return notification

    def link(self, data: bytes | None = None, **fields: Any) -> str:
        return str(self.finished(data, **fields)["data"]["links"][0]["l"])

    def delete(self, number: Any) -> httpx.Response:
        return self.api.request("DELETE", "/notification/delete_json", json={"id": number})

    def history(self, id_image: str, app: str = "expand") -> httpx.Response:
        return self.api.post("/history", json={"id_image": id_image, "app": app})

    def refresh(self, access: str, refresh: str) -> httpx.Response:
        return self.plain.put(f"{self.server.api_url}/tokens", json={"access_token": access, "refresh_token": refresh})

    def me(self, access: str) -> int:
        """The status of `GET /me` with this access token."""
        headers = {"Authorization": f"Bearer {access}"}
        return self.plain.get(f"{self.server.api_url}/me", headers=headers).status_code

    def control(self, path: str, value: Any = None) -> httpx.Response:
        return self.plain.post(f"{self.server.url}/simulator/{path}", json=value)
