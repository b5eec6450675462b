"""Shows a decoder chosen parts of an open file as if they were all of it."""

from __future__ import annotations

import io
import os
from typing import Any, BinaryIO

from expandd.adapters.images.shape import Spans


def spliced(file: BinaryIO, spans: Spans) -> BinaryIO:
    """`file` from its start, or only its `spans` where there are any."""
    if spans:
        return io.BufferedReader(_Parts(file.fileno(), spans))
    file.seek(0)
    return file


class _Parts(io.RawIOBase):
    def __init__(self, descriptor: int, spans: Spans) -> None:
        self._descriptor = descriptor
        self._spans = spans
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        length = sum(stop - start for start, stop in self._spans)
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, target: Any, /) -> int:
        view = memoryview(target)
        found = self._found(len(view))
        view[: len(found)] = found
        self._position += len(found)
        return len(found)

    def _found(self, most: int) -> bytes:
        """The bytes at the position, as far as the part there reaches."""
        before = 0
        for start, stop in self._spans:
            at = start + self._position - before
            if at < stop:
                return os.pread(self._descriptor, min(most, stop - at), at)
            before += stop - start
        return b""
