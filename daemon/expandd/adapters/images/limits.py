"""The memory that a decoder process may take: by the pixels of its image, and no more than was granted for them.

A limit is on address space, of which libraries reserve more than they use: an image of 24 megapixels is finished in
about 0.3 GB, one of 100 in about 1 GB, and both limits are well above. They hold off what swells without end.
"""

from __future__ import annotations

import resource

from expandd.domain.image import Size

LARGE = 40_000_000
"""Px of an image that is not decoded beside another such one."""

LEAST_MEMORY = 1536 << 20
"""Bytes for any image up to LARGE."""

MOST_MEMORY = 6 << 30
"""Bytes for the largest image that is taken."""

_BESIDE = 512 << 20
_BYTES_A_PIXEL = 22
"""Two images of four channels, and what the most wasteful decoder, that of JPEG 2000, needs on its way to one."""

LEAST_WRITTEN, MOST_WRITTEN = 1 << 30, 8 << 30
"""Bytes of a file that is written."""
_WRITTEN_A_PIXEL = 16


class NeedsRoom(Exception):
    """The image has more pixels than memory was granted for."""

    def __init__(self, pixels: int) -> None:
        super().__init__(f"{pixels} pixels")
        self.pixels = pixels


def memory_for(pixels: int) -> int:
    """Bytes of address space for an image of so many px."""
    return min(max(LEAST_MEMORY, _BESIDE + _BYTES_A_PIXEL * pixels), MOST_MEMORY)


def grant(pixels: int) -> None:
    """Let this process take the memory, and write the bytes, that an image of so many px needs."""
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
