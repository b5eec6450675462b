"""The images of the demo: a few that are shipped as they are, and those that would be too large for that."""

from __future__ import annotations

import io
import random
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from PIL import Image, ImageChops, ImageCms

NAMES = (
    "still life.png",
    "sunset over hills.jpg",
    "portrait.jpg",
    "city at night.webp",
    "poster.tif",
    "beach.heic",
)

_PHOTO = "sunset over hills.jpg"
_PHOTO_SIZE = (6000, 4000)
_GRAIN = 3  # steps up or down, as a sensor adds them
_MAKER, _MODEL = 0x010F, 0x0110  # of EXIF


def write_samples(directory: Path) -> tuple[Path, ...]:
    """Write the samples into `directory`, which exists, under their own names; their paths."""
    return tuple(_written(directory / name) for name in NAMES)


def _written(path: Path) -> Path:
    samples = resources.files(__package__) / "samples"
    if path.name == _PHOTO:
        _write_photo(samples, path)
    elif path.suffix == ".png":
        # Shipped as WEBP, at a tenth of the size.
        _opened(samples / f"{path.name}.webp").save(path)
    elif path.suffix == ".tif":
        _opened(samples / f"{path.name}.webp").save(path, compression="tiff_lzw", dpi=(300, 300))
    else:
        path.write_bytes((samples / path.name).read_bytes())
    return path


def _opened(shipped: Traversable) -> Image.Image:
    with shipped.open("rb") as file, Image.open(file) as image:
        image.load()
    return image


def _write_photo(samples: Traversable, path: Path) -> None:
    """A photo as a camera makes it: 24 million px, a wide-gamut profile, EXIF, 300 dpi."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO((samples / "display p3.icc").read_bytes()))
    small = _opened(samples / path.name)
    ImageCms.profileToProfile(small, ImageCms.createProfile("sRGB"), profile, inPlace=True)
    large = small.resize(_PHOTO_SIZE, Image.Resampling.BICUBIC)
    # Seeded: the demo shows the same each time.
    noise = random.Random(24).randbytes(_PHOTO_SIZE[0] * _PHOTO_SIZE[1])  # noqa: S311 - a texture, not a secret
    levels = [128 + (level - 128) * _GRAIN // 128 for level in range(256)]
    grain = Image.frombytes("L", _PHOTO_SIZE, noise).point(levels)
    photo = ImageChops.add(large, Image.merge("RGB", [grain] * 3), offset=-128)
    exif = Image.Exif()
    exif[_MAKER], exif[_MODEL] = "expandd", "Sample camera"
    photo.save(path, quality=90, exif=exif, icc_profile=profile.tobytes(), dpi=(300, 300))
