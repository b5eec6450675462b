"""Images of any kind through the real program, with an API that strips metadata and shifts colours."""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image, ImageChops, ImageCms

from expandd.simulator.server import Simulator
from expandd.simulator.switches import ResultMetadata
from tests.support.daemon import House, names
from tests.support.images import drawing

SEAM = 24
"""Px beside the border of the original in which its pixels and the API's may mix."""

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image: Image.Image, image_format: str, **save: object) -> bytes:
    out = io.BytesIO()
    image.save(out, image_format, **save)
    return out.getvalue()


def a_camera_jpeg(width: int, height: int) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Maker of Cameras"
    return saved(drawing(width, height), "JPEG", quality=95, dpi=(300, 300), exif=exif.tobytes(), icc_profile=PROFILE)


def inside(path: Path, width: int, height: int) -> Image.Image:
    """What lies in the result where the original was, the seam left out."""
    with Image.open(path) as result:
        left, top = result.width - width, result.height - height
        return result.copy().crop((left + SEAM, top + SEAM, result.width - SEAM, result.height - SEAM))


def test_any_image_comes_back_in_full_size_with_its_own_pixels_and_metadata(house: House, server: Simulator) -> None:
    server.switch(result_metadata=ResultMetadata.NONE, colour_shift=3)
    wide = drawing(4800, 600)
    cmyk = drawing(200, 160).convert("CMYK")
    dropped = {
        "camera.jpg": a_camera_jpeg(4800, 600),
        "small.jpg": a_camera_jpeg(200, 160),
        "scan.tif": saved(wide, "TIFF", compression="tiff_lzw", dpi=(600, 600)),
        "print.jpg": saved(cmyk, "JPEG", quality=95),
        "bitmap.bmp": saved(drawing(200, 160, seed=1), "BMP"),
        "palette.gif": saved(drawing(200, 160, seed=2).convert("P"), "GIF"),
        "phone.avif": saved(drawing(200, 160, seed=3), "AVIF", quality=90),
        "old.jp2": saved(drawing(200, 160, seed=4), "JPEG2000"),
    }
    hot = house.folder()
    for name, content in dropped.items():
        (hot / "inbox" / name).write_bytes(content)
    outcome = house.call("once")

    assert outcome.returncode == 0, outcome.stderr[-3000:]
    outbox = hot / "outbox"
    assert names(outbox) == [
        "bitmap.png",
        "camera.jpg",
        "old.png",
        "palette.png",
        "phone.jpg",
        "print.jpg",
        "scan.tif",
        "small.jpg",
    ]
    assert {name: (hot / "done" / name).read_bytes() for name in names(hot / "done")} == dropped
    for name, size in (("camera.jpg", (6000, 610)), ("scan.tif", (6000, 610)), ("small.jpg", (250, 170))):
        with Image.open(outbox / name) as result:
            assert result.size == size, name
    with Image.open(outbox / "scan.tif") as scan:
        assert ImageChops.difference(inside(outbox / "scan.tif", 4800, 600), wide_inside(wide)).getbbox() is None
        assert scan.info["dpi"] == (600, 600)
    with Image.open(outbox / "print.jpg") as printed:
        assert printed.mode == "CMYK"
    for name in ("camera.jpg", "small.jpg"):
        with Image.open(outbox / name) as result:
            assert result.getexif()[0x010F] == "Maker of Cameras", name
            assert result.info["icc_profile"] == PROFILE, name
            assert tuple(map(round, result.info["dpi"])) == (300, 300), name
    assert server.counts().paid_twice == []
    assert server.counts().generates_accepted == len(dropped)


def wide_inside(image: Image.Image) -> Image.Image:
    return image.crop((SEAM, SEAM, image.width - SEAM, image.height - SEAM))


def test_a_folder_that_takes_what_the_api_takes_says_what_to_do(house: House, server: Simulator) -> None:
    house.build(defaults="accept: api, oversize: error, settle: 50ms")
    hot = house.folder()
    (hot / "inbox" / "scan.tif").write_bytes(saved(drawing(200, 160), "TIFF"))
    (hot / "inbox" / "camera.jpg").write_bytes(a_camera_jpeg(4800, 600))
    assert house.call("once").returncode == 3

    told = {name: json.loads((hot / "error" / f"{name}.error.json").read_text()) for name in ("scan.tif", "camera.jpg")}
    assert "TIFF" in told["scan.tif"]["message"]
    assert "4800×600" in told["camera.jpg"]["message"]
    assert server.counts().generates_accepted == 0
