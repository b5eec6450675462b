"""Recognises the format of a file by its first bytes, and reads its outer structure.

The structure is its size, whether its own end is there, and whether more images follow the first.

Nothing is decoded, so nothing here costs more than reading the file once, even with a forged header.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from expandd.adapters.images.foreign_types import HEAD, foreign
from expandd.adapters.images.formats.bmp import begins_bmp, may_become_bmp, walk_bmp
from expandd.adapters.images.formats.common import Bytes, Structure
from expandd.adapters.images.formats.gif import GIF, walk_gif
from expandd.adapters.images.formats.heif import BRANDS, heif_format, walk_heif
from expandd.adapters.images.formats.jpeg import START, walk_jpeg
from expandd.adapters.images.formats.jpeg2000 import CODESTREAM, JP2, walk_jpeg2000
from expandd.adapters.images.formats.png import SIGNATURE, walk_png
from expandd.adapters.images.formats.tiff import BIG, CLASSIC, walk_tiff
from expandd.adapters.images.formats.webp import RIFF, WEBP, walk_webp
from expandd.domain.errors import Fault, FaultCode
from expandd.domain.image import ImageFormat, Incomplete, Invalid

AGAIN = "Save or copy the image again, and drop it once more when it is complete."


@dataclass(frozen=True, slots=True)
class _Reader:
    """Recognises one format by a file's first bytes, and reads it.

    `may_become` gets the first few bytes of a file that has nothing, or only zeros, behind them; the zeros are cut off.
    """

    format: ImageFormat
    begins: Callable[[bytes], bool]
    may_become: Callable[[bytes], bool]
    walk: Callable[[Bytes], Structure | Invalid | None]


def _of(image_format: ImageFormat, walk: Callable[[Bytes], Structure | Invalid | None], *magics: bytes) -> _Reader:
    """The reader of a format that has magic bytes at its start."""
    return _Reader(
        image_format,
        lambda head: head.startswith(magics),
        lambda head: any(magic.startswith(head) for magic in magics),
        walk,
    )


def _may_become_webp(head: bytes) -> bool:
    return RIFF.startswith(head[:4]) and WEBP.startswith(head[8:])


def _may_become_heif(head: bytes) -> bool:
    brand = head[8:12]
    return head[:2] == bytes(2) and b"ftyp".startswith(head[4:8]) and any(one.startswith(brand) for one in BRANDS)


# The first match wins.
_READERS = (
    _of(ImageFormat.JPEG, walk_jpeg, START),
    _of(ImageFormat.PNG, walk_png, SIGNATURE),
    _Reader(
        ImageFormat.WEBP,
        lambda head: head.startswith(RIFF) and head[8:12] == WEBP,
        _may_become_webp,
        walk_webp,
    ),
    _of(ImageFormat.TIFF, walk_tiff, *CLASSIC, *BIG),
    _of(ImageFormat.GIF, walk_gif, *GIF),
    _of(ImageFormat.JPEG2000, walk_jpeg2000, JP2, CODESTREAM),
    _Reader(ImageFormat.HEIC, lambda head: heif_format(head) is ImageFormat.HEIC, _may_become_heif, walk_heif),
    _Reader(ImageFormat.AVIF, lambda head: heif_format(head) is ImageFormat.AVIF, _may_become_heif, walk_heif),
    _Reader(ImageFormat.BMP, begins_bmp, may_become_bmp, walk_bmp),
)


def structure_of(data: Bytes) -> Structure | Incomplete | Invalid:
    """The inspection for the whole file `data`, by its structure."""
    head = data[:HEAD]
    if not head:
        return Incomplete(Fault(FaultCode.EMPTY, "The file is empty (0 bytes).", AGAIN))
    if not any(head[:16]):
        return _unfinished("The file begins with zeros: its space was reserved, but its content did not arrive.")
    for reader in _READERS:
        if reader.begins(head):
            found = reader.walk(data)
            return cut_off(reader.format) if found is None else found
    return _prefix(head.rstrip(b"\0")) or Invalid(foreign(head))


def cut_off(image_format: ImageFormat) -> Incomplete:
    """The inspection for a file that ends too early, or has a hole in it."""
    return _unfinished(f"The file is cut off: the end of the {image_format.title} image is missing.")


def _prefix(head: bytes) -> Incomplete | None:
    """The inspection for a few bytes, with nothing or zeros behind them, that may still become one of the formats."""
    formats = [reader.format for reader in _READERS if reader.may_become(head)]
    if len(formats) == 1:
        return cut_off(formats[0])
    return _unfinished("The file is cut off: only its first bytes are there.") if formats else None


def _unfinished(message: str) -> Incomplete:
    return Incomplete(Fault(FaultCode.NOT_WHOLE, message, AGAIN))
