"""Inspects an image inside a decoder process: decodes it to its last row, and reads size, colours and metadata.

The orientation is the one still to be applied: 1 for formats whose decoders apply it themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from expandd.adapters.images.colours import in_srgb
from expandd.adapters.images.decoder import opened, structure_in
from expandd.adapters.images.deep import of_two_bytes
from expandd.adapters.images.formats.common import Structure
from expandd.adapters.images.limits import require_room
from expandd.adapters.images.source import Source, source_in
from expandd.domain.errors import Fault, FaultCode, FileFault
from expandd.domain.finishing import MOST_PIXELS
from expandd.domain.image import ImageFormat, Incomplete, Inspection, Invalid, Size, Valid

_PLAIN = frozenset({"L", "LA", "RGB", "RGBA"})

_TURNED_OR_TRIMMED = frozenset({ImageFormat.HEIC, ImageFormat.AVIF})
"""Formats whose images may be shown in another size than their stored one."""


def inspect(descriptor: int) -> Inspection:
    """Inspect the source open at `descriptor`. Raises Later when it cannot be read just now, and NeedsRoom."""
    return _inspected(descriptor, lambda file, found: _too_large(found.size) or _decoded(file, found))


def inspect_result(descriptor: int, most_pixels: int) -> Inspection:
    """Inspect the downloaded result open at `descriptor`, of any size. Raises Later and NeedsRoom.

    A result of more than `most_pixels` counts as whole when its own end is there: refusing a paid image because this
    machine is too small to decode it would be worse.
    """

    def judge(file: BinaryIO, found: Structure) -> Inspection:
        if found.size.pixels > most_pixels:
            return Valid(format=found.format, size=found.size, orientation=1)
        return _decoded(file, found)

    return _inspected(descriptor, judge)


def _inspected(descriptor: int, judge: Callable[[BinaryIO, Structure], Inspection]) -> Inspection:
    with opened(descriptor) as file:
        found = structure_in(file)
        return judge(file, found) if isinstance(found, Structure) else found


def _too_large(size: Size) -> Invalid | None:
    if size.pixels <= MOST_PIXELS:
        return None
    message = f"The image is {size} px; images of up to {MOST_PIXELS // 1_000_000} million px can be expanded."
    return Invalid(Fault(FaultCode.TOO_LARGE, message, "Export it smaller and drop that."))


def _decoded(file: BinaryIO, found: Structure) -> Inspection:
    small = found.format is ImageFormat.JPEG
    try:
        return _loaded(file, found, small=small)
    except FileFault as error:
        fault = error.fault
    if small:
        # A lossless JPEG has no smaller scale to decode to.
        try:
            return _loaded(file, found, small=False)
        except FileFault as error:
            fault = error.fault
    return Incomplete(fault) if fault.code is FaultCode.NOT_WHOLE else Invalid(fault)


def _loaded(file: BinaryIO, found: Structure, *, small: bool) -> Inspection:
    with source_in(file, found) as source:
        _require_one_size(found, Size(*source.image.size))
        invalid = _too_large(Size(*source.image.size))
        if invalid is not None:
            return invalid
        # An eighth of each side of a JPEG: this reads every coded bit in a third less time and with little memory.
        eighth = Size(max(found.size.width // 8, 1), max(found.size.height // 8, 1)) if small else None
        converts = _converts(source)
        source.load(eighth)
        return Valid(
            format=found.format,
            size=source.size,
            orientation=source.orientation,
            converts=converts,
            several=found.several or _holds_more(source),
            metadata=bool(source.metadata),
        )


def _converts(source: Source) -> bool:
    image = source.image
    if not source.format.taken_by_api or image.mode not in _PLAIN or of_two_bytes(image):
        return True
    return not in_srgb(image.mode, source.metadata.icc)


def _require_one_size(found: Structure, opened_as: Size) -> None:
    stored = {found.size}
    if found.format is ImageFormat.TIFF:
        # The decoder turns the image itself.
        stored.add(Size(found.size.height, found.size.width))
    if found.format in _TURNED_OR_TRIMMED:
        require_room(opened_as)
    elif opened_as not in stored:
        raise ValueError("its header names two sizes")


def _holds_more(source: Source) -> bool:
    """Whether a file of items has further images that are not parts of the first."""
    return source.format is ImageFormat.HEIC and int(getattr(source.image, "n_frames", 1)) > 1
