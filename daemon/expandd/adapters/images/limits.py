"""Limits the memory of a decoder process by the pixels of its image.

The limit is on address space, and libraries reserve more of it than they use: an image of 24 megapixels is finished
in about 0.3 GB, one of 100 in about 1 GB, and both limits are well above. They stop a decoder that grows without end.
"""

from __future__ import annotations

import resource

from expandd.domain.image import Size

LARGE = 40_000_000
"""Px above which only one image is decoded at a time."""

LEAST_MEMORY = 1536 << 20
"""Bytes for any image up to LARGE."""

MOST_MEMORY = 6 << 30
"""Bytes for the largest image that is accepted."""

_BESIDE = 512 << 20
_BYTES_A_PIXEL = 22
"""Bytes for each px: two images of four channels, and the working memory of the largest decoder, JPEG 2000."""

LEAST_WRITTEN, MOST_WRITTEN = 1 << 30, 8 << 30
"""Bytes of the largest file that is written."""
_WRITTEN_A_PIXEL = 16


class NeedsRoom(Exception):
    """The image has more pixels than memory was granted for."""

    def __init__(self, pixels: int) -> None:
        super().__init__(f"{pixels} pixels")
        self.pixels = pixels


def memory_for(pixels: int) -> int:
    """Bytes of address space for an image of `pixels` px."""
    return min(max(LEAST_MEMORY, _BESIDE + _BYTES_A_PIXEL * pixels), MOST_MEMORY)


def grant(pixels: int) -> None:
    """Limit the memory of this process, and the size of its files, to the needs of an image of `pixels` px."""
    _lower(resource.RLIMIT_AS, memory_for(pixels))
    _lower(resource.RLIMIT_FSIZE, min(max(LEAST_WRITTEN, _WRITTEN_A_PIXEL * pixels), MOST_WRITTEN))


def require_room(size: Size) -> None:
    """Raises NeedsRoom where this process was not granted the memory for an image of `size`."""
    granted, most = resource.getrlimit(resource.RLIMIT_AS)
    needed = memory_for(size.pixels)
    if most != resource.RLIM_INFINITY:
        needed = min(needed, most)
    if granted not in {resource.RLIM_INFINITY, needed} and granted < needed:
        raise NeedsRoom(size.pixels)


def _lower(kind: int, least: int) -> None:
    _, most = resource.getrlimit(kind)
    resource.setrlimit(kind, (least if most == resource.RLIM_INFINITY else min(least, most), most))
