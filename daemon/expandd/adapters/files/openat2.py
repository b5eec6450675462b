"""Opens a directory by a whole path on which no link lies, in one call, where the kernel has it (openat2)."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import Any

_OPENAT2 = 437
_NO_SYMLINKS = 0x04
_CWD = -100
_UNKNOWN = frozenset({errno.ENOSYS, errno.EPERM, errno.E2BIG, errno.EINVAL, errno.ELOOP, errno.EAGAIN, errno.ENOTDIR})


class _How(ctypes.Structure):
    """The kernel's struct open_how."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def opened_without_links(path: str, flags: int) -> int | None:
    """A descriptor; None where a link lies on the way, or the kernel cannot tell: whoever asks walks then."""
    how = _How(flags, 0, _NO_SYMLINKS)
    found: int = _syscall()(_OPENAT2, _CWD, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
    if found >= 0:
        return found
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return None
    raise OSError(number, os.strerror(number), path)


@functools.cache
def _syscall() -> Any:
    return ctypes.CDLL(None, use_errno=True).syscall
