"""The images of a benchmark: like photographs in size and texture, the same in every run, none twice."""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path

from PIL import Image

SMALL = (640, 480)
LARGE = (4000, 3000)
"""Twelve megapixels."""
TINY = (64, 64)


@cache
def photo(width: int, height: int) -> bytes:
    """A JPEG with soft shapes and a grain, as a camera makes it."""
    dice = random.Random(7)
    coarse = Image.frombytes("RGB", (24, 18), dice.randbytes(24 * 18 * 3))
    image = coarse.resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.effect_noise((width // 2, height // 2), 24).resize((width, height)).convert("RGB")
    out = io.BytesIO()
    Image.blend(image, grain, 0.15).save(out, "JPEG", quality=90)
    return out.getvalue()


def numbered(content: bytes, number: int) -> bytes:
    """The same image with a number in a comment segment: other bytes, the same work."""
    text = f"number {number}".encode()
    return content[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + content[2:]


def stage(directory: Path, number: int, size: tuple[int, int] = SMALL) -> list[Path]:
    """So many images as files in `directory`, ready to be moved into an inbox."""
    directory.mkdir(parents=True, exist_ok=True)
    content, paths = photo(*size), [directory / f"pic-{one:06}.jpg" for one in range(number)]
    for one, path in enumerate(paths):
        path.write_bytes(numbered(content, one))
    return paths
