"""The demo's six sample images, in the three formats that the API takes; one lies on its side, as from a camera."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from PIL import Image

NAMES = (
    "sunset over hills.jpg",
    "still life.png",
    "portrait.jpg",
    "city at night.webp",
    "poster.png",
    "beach.webp",
)


def write_samples(directory: Path) -> tuple[Path, ...]:
    """Write the samples into `directory`, which exists, under their own names; their paths."""
    return tuple(_written(directory / name) for name in NAMES)


def _written(path: Path) -> Path:
    samples = resources.files(__package__) / "samples"
    if path.suffix == ".png":
        # Shipped as WEBP, at a tenth of the size.
        with (samples / f"{path.name}.webp").open("rb") as file, Image.open(file) as image:
            image.save(path)
    else:
        path.write_bytes((samples / path.name).read_bytes())
    return path
