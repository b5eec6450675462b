"""Images with texture and grain, and what a stand-in for the API makes of the copy that it is sent."""

from __future__ import annotations

import functools
import io
import random
from pathlib import Path

from PIL import Image, ImageChops

from expandd.domain.image import Size
from expandd.domain.offsets import Offsets

HEIC = Path(__file__).parent / "data" / "turned.heic"
"""240×160 px as it is stored, turned to the right, with its top left corner red, by "A camera"."""


@functools.cache
def textured(width: int, height: int, seed: int = 1, mode: str = "RGB") -> Image.Image:
    """An image whose pixels all differ: coarse patches, and grain on them. The same arguments give the same image."""
    dice = random.Random(seed)
    bands = len(mode)
    coarse = Image.frombytes(mode, (9, 7), dice.randbytes(63 * bands)).resize((width, height), Image.Resampling.BICUBIC)
    grain = Image.frombytes(mode, (width, height), dice.randbytes(width * height * bands))
    return Image.blend(coarse, grain, 0.1)


def expanded(copy: Path, asked: Offsets, *, shift: int = 0, times: int = 1, name: str = "PNG") -> bytes:
    """What a plain API makes of `copy`: black around it. Its colours off by `shift`, or made so many times as large."""
    with Image.open(copy) as sent:
        size = asked.applied_to(Size(*sent.size))
        left, top = -asked.left, -asked.top
        image = sent.convert("RGB").crop((left, top, left + size.width, top + size.height))
    image = ImageChops.add(image, Image.new("RGB", image.size, (shift,) * 3))
    image = image.resize((times * image.width, times * image.height), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, name)
    return out.getvalue()
