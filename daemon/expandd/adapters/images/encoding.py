"""Writes a finished canvas in one of the four formats of results, with its metadata."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image, JpegImagePlugin

from expandd.adapters.images import deep
from expandd.adapters.images.metadata import Metadata, webp_chunks
from expandd.adapters.images.metadata_adding import add_tags, added
from expandd.adapters.images.source import ASIDE, Source
from expandd.domain.image import ImageFormat

_LEAST_QUALITY = 90
"""The least quality of a JPEG whose original is a coarser JPEG: the API's part has not been encoded that coarsely."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """The finished pixels; `low` returns the low bytes of an image of 16 bits a channel."""

    image: Image.Image
    low: deep.LowBytes | None = None


def effort(original: Source, image_format: ImageFormat, mode: str, quality: int) -> dict[str, Any]:
    """The encoder's options for a result: like the original's where the format is the same, else by `quality`."""
    same = original.format is image_format
    match image_format:
        case ImageFormat.JPEG:
            return _like(original, mode) if same else _jpeg(quality)
        case ImageFormat.WEBP if same and _lossless(original.file):
            return LOSSLESS_WEBP
        case ImageFormat.WEBP:
            return {"quality": quality, "method": 4}
        case ImageFormat.TIFF:
            return {"compression": "tiff_lzw", "tiffinfo": {_PREDICTOR: _DIFFERENCES}}
        case _:
            return {"compress_level": 3}


LOSSLESS_WEBP: dict[str, Any] = {"lossless": True, "exact": True, "quality": 30, "method": 2}

_PREDICTOR, _DIFFERENCES = 317, 2


def _jpeg(quality: int) -> dict[str, Any]:
    return {"quality": quality, "subsampling": 0 if quality >= _LEAST_QUALITY else 2}


def _like(original: Source, mode: str) -> dict[str, Any]:
    """Options with the tables and the sampling of the original, or tables of quality 90 where its own are coarser."""
    least = io.BytesIO()
    Image.new(mode, (8, 8)).save(least, "JPEG", quality=_LEAST_QUALITY)
    with Image.open(least, formats=("JPEG",)) as of_least:
        coarse = _sum(original.image) > _sum(of_least)
    tables = {"quality": _LEAST_QUALITY} if coarse else {"qtables": original.image.quantization}  # type: ignore[attr-defined]  # of a JPEG alone
    sampling = JpegImagePlugin.get_sampling(original.image)
    # Colour that is halved horizontally would be halved vertically as well once the image is turned.
    halved_once = sampling == _ACROSS and original.orientation >= ASIDE
    return {**tables, "subsampling": 0 if halved_once else max(sampling, 0)}


_ACROSS = 1
"""Pillow's number for colour that is halved horizontally only."""


def _sum(image: Image.Image) -> int:
    """The coarseness of a JPEG: the sum of its first table, that of brightness."""
    tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]  # of a JPEG alone
    return sum(tables[min(tables)]) if tables else 1 << 16


def _lossless(file: BinaryIO) -> bool:
    names = {name for name, _, _ in webp_chunks(file)}
    return b"VP8L" in names


def write(canvas: Canvas, image_format: ImageFormat, metadata: Metadata, out: BinaryIO, **save: Any) -> None:
    """Write the canvas to the empty file `out`."""
    match image_format:
        case ImageFormat.TIFF:
            if canvas.low is None:
                canvas.image.save(out, "TIFF", **save)
            else:
                deep.write_tiff(canvas.image, canvas.low, out)
            add_tags(out, canvas.image.mode, metadata)
        case ImageFormat.WEBP:
            whole = io.BytesIO()
            canvas.image.save(whole, "WEBP", **save)
            if not added(whole, image_format, metadata, out):
                out.write(whole.getbuffer())
        case ImageFormat.PNG if canvas.low is not None:
            _, chunks = _metadata(image_format, canvas.image.mode, metadata)
            deep.write_png(canvas.image, canvas.low, out, chunks)
        case _:
            dpi = {"dpi": tuple(float(side) for side in metadata.dpi)} if metadata.dpi else {}
            save = save | dpi if image_format is ImageFormat.JPEG else save
            place, new = _metadata(image_format, canvas.image.mode, metadata, **save)
            canvas.image.save(_Inserting(out, place, new), image_format.name, **save)  # type: ignore[arg-type]  # it is written to, and no more


def _metadata(image_format: ImageFormat, mode: str, metadata: Metadata, **save: Any) -> tuple[int, bytes]:
    """The place and the bytes of the metadata in a file of this format and mode, found with the smallest image."""
    tiny, labelled = io.BytesIO(), io.BytesIO()
    Image.new(mode, (1, 1)).save(tiny, image_format.name, **save)
    if not added(tiny, image_format, metadata, labelled):
        return 0, b""
    before, after = tiny.getvalue(), labelled.getvalue()
    place = _HEADER[image_format] if image_format is ImageFormat.PNG or before[3] == _APP0 else _START
    return place, after[place : place + len(after) - len(before)]


_HEADER = {ImageFormat.PNG: 33, ImageFormat.JPEG: 20}
"""Bytes before the first place for metadata: the header of a PNG, or the start of a JPEG with its JFIF segment."""
_START, _APP0 = 2, 0xE0


class _Inserting(io.RawIOBase):
    """Writes to a file and inserts `new` at offset `place`."""

    def __init__(self, file: BinaryIO, place: int, new: bytes) -> None:
        self._file = file
        self._left = place
        self._new = new

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        view = memoryview(data)
        if self._new:
            before = view[: self._left]
            self._file.write(before)
            self._left -= len(before)
            if self._left:
                return len(view)
            self._file.write(self._new)
            self._new = b""
            self._file.write(view[len(before) :])
        else:
            self._file.write(view)
        return len(view)
