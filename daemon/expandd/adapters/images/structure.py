"""Owns the outer structure of JPEG, PNG and WEBP files: which it is, its size, whether its end is there.

Nothing is decoded, so nothing here costs more than reading the file once, whatever its header claims.
"""

from __future__ import annotations

from expandd.adapters.images.foreign_types import HEAD, foreign
from expandd.adapters.images.jpeg import START, walk_jpeg
from expandd.adapters.images.png import SIGNATURE, walk_png
from expandd.adapters.images.shape import Bytes, Structure
from expandd.adapters.images.webp import RIFF, WEBP, walk_webp
from expandd.domain.errors import Fault, FaultCode
from expandd.domain.image import ImageFormat
from expandd.domain.inspection import Unfinished, Unfit

AGAIN = "Save or copy the picture again, and drop it once more when it is complete."

_WALKS = {ImageFormat.JPEG: walk_jpeg, ImageFormat.PNG: walk_png, ImageFormat.WEBP: walk_webp}


def structure_of(data: Bytes) -> Structure | Unfinished | Unfit:
    """What `data`, a whole file as it lies there, is by its structure."""
    head = data[:HEAD]
    if not head:
        return Unfinished(Fault(FaultCode.EMPTY, "The file is empty (0 bytes).", AGAIN))
    if not any(head[:16]):
        return _unfinished("The file begins with zeros: its space was reserved, but its content did not arrive.")
    image_format = _format(head)
    if image_format is None:
        return _prefix(head.rstrip(b"\0")) or Unfit(foreign(head))
    found = _WALKS[image_format](data)
    return cut_off(image_format) if found is None else found


def cut_off(image_format: ImageFormat) -> Unfinished:
    """The finding for a file that ends too early, or holds a gap."""
    return _unfinished(f"The file is cut off: the end of the {image_format.name} picture is missing.")


def _unfinished(message: str) -> Unfinished:
    return Unfinished(Fault(FaultCode.NOT_WHOLE, message, AGAIN))


def _format(head: bytes) -> ImageFormat | None:
    if head.startswith(START):
        return ImageFormat.JPEG
    if head.startswith(SIGNATURE):
        return ImageFormat.PNG
    if head.startswith(RIFF) and head[8:12] == WEBP:
        return ImageFormat.WEBP
    return None


def _prefix(head: bytes) -> Unfinished | None:
    """The finding for a few bytes, with nothing or zeros behind them, that may yet become one of the formats."""
    if START.startswith(head):
        return cut_off(ImageFormat.JPEG)
    if SIGNATURE.startswith(head):
        return cut_off(ImageFormat.PNG)
    if RIFF.startswith(head[:4]) and WEBP.startswith(head[8:]):
        return cut_off(ImageFormat.WEBP)
    return None
