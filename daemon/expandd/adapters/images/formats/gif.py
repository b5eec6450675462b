"""Reads the blocks of GIF files: the screen, its images, and the extensions between them."""

from __future__ import annotations

import struct

from expandd.adapters.images.formats.common import Bytes, Structure, laborious, some
from expandd.domain.image import ImageFormat, Invalid, Size

GIF = (b"GIF87a", b"GIF89a")

_IMAGE, _EXTENSION, _TRAILER = 0x2C, 0x21, 0x3B
_HEADER, _DESCRIPTOR = 13, 10
_TABLE = 0x80
_MOST_BLOCKS, _BYTES_A_BLOCK = 100_000, 64


def walk_gif(data: Bytes) -> Structure | Invalid | None:
    """The structure when the blocks lead to the trailer; None when they do not."""
    if len(data) < _HEADER:
        return None
    walk = _Walk(data)
    try:
        return walk.found()
    except IndexError:
        return None
    except struct.error:
        return None


class _Walk:
    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._most = _MOST_BLOCKS + len(data) // _BYTES_A_BLOCK
        """Blocks that may still follow. Writers fill each with 255 bytes."""

    def found(self) -> Structure | Invalid | None:
        data, size, images = self._data, None, 0
        position = _HEADER + _table(data[10])
        while self._most >= 0:
            kind = data[position]
            if kind == _TRAILER:
                return Structure(ImageFormat.GIF, size, several=images > 1) if size else None
            if kind == _IMAGE:
                images += 1
                size = size or self._size(position + 1)
                # The descriptor and its colours are followed by one byte about the compression.
                position = self._behind(position + _DESCRIPTOR + _table(data[position + _DESCRIPTOR - 1]) + 1)
            elif kind == _EXTENSION:
                position = self._behind(position + 2)
            else:
                return None
        return laborious(ImageFormat.GIF, "blocks without end")

    def _size(self, position: int) -> Size | None:
        """The size of the screen, enlarged to contain its first image, as decoders do."""
        width, height = struct.unpack_from("<2H", self._data, 6)
        left, top, across, down = struct.unpack_from("<4H", self._data, position)
        return some(max(width, left + across), max(height, top + down))

    def _behind(self, position: int) -> int:
        """The end of the blocks that begin at `position`."""
        while self._most >= 0:
            length = self._data[position]
            position += 1 + length
            self._most -= 1
            if not length:
                break
        return position


def _table(flags: int) -> int:
    """Bytes of the colour table that `flags` announce."""
    return 3 << ((flags & 7) + 1) if flags & _TABLE else 0
