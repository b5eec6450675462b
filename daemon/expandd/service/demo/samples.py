"""Owns the demo's sample pictures: six of them, painted by rule, the same every time, in the three formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from expandd.service.demo import scenes

_ORIENTATION = 0x0112
_ON_ITS_SIDE = 6
_FINE = 2  # painted twice as large as shown: reducing it smooths the edges


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture: its file name, its painter, and whether it is stored on its side as a camera does it."""

    name: str
    paint: Callable[[], Image.Image]
    on_its_side: bool = False


def write_samples(directory: Path) -> tuple[Path, ...]:
    """Paint the samples into `directory`, which exists, under their own names; their paths."""
    return tuple(_written(sample, directory / sample.name) for sample in _SAMPLES)


def _written(sample: Sample, path: Path) -> Path:
    picture = sample.paint().reduce(_FINE)
    if sample.on_its_side:
        exif = Image.Exif()
        exif[_ORIENTATION] = _ON_ITS_SIDE
        picture.transpose(Image.Transpose.ROTATE_90).save(path, quality=90, exif=exif)
    else:
        picture.save(path, quality=90, method=2, compress_level=4)
    return path


_SAMPLES = (
    Sample("sunset over hills.jpg", scenes.sunset),
    Sample("still life.png", scenes.still_life),
    Sample("portrait.jpg", scenes.portrait, on_its_side=True),
    Sample("city at night.webp", scenes.city),
    Sample("poster.png", scenes.poster),
    Sample("beach.webp", scenes.beach),
)
