"""Denies the calling process all that decoding does not need: files by name, the network, other processes.

It calls Landlock and seccomp by ctypes: each is a few calls, and the packages that wrap them are hardly maintained.
Where the kernel, or an earlier filter, refuses one of them, the other still protects, and the result names it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from enum import Enum


class Wall(Enum):
    """The protections between a decoder and the rest of the machine."""

    LANDLOCK = "landlock"
    SECCOMP = "seccomp"


_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_ABI_VERSION = 1
_SET_NO_NEW_PRIVS, _SET_SECCOMP, _SECCOMP_FILTER = 38, 22, 2

# The number of kinds of file access that each version of Landlock can forbid, and the first with TCP and signals.
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_MOST_FILE_RIGHTS = 16
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6

# struct sock_filter: load a word, jump when equal, jump when a bit is set, return.
_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _NO_SUCH_CALL = 0x7FFF0000, 0x00050000 | 38  # ENOSYS: C libraries expect it of a missing call
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Reading and writing open files, memory, time, its own limits, the end. No opening, no socket, no new process.
_CALLS = {
    "x86_64": (
        *(0, 1, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 23, 24, 25, 28, 32, 33, 34, 35, 39, 45, 47),
        *(60, 72, 74, 75, 77, 96, 97, 98, 131, 160, 186, 201, 202, 204, 219, 228, 229, 230, 231, 262, 270, 271, 273),
        *(292, 318, 324, 334),
    ),
    "aarch64": (
        *(23, 24, 25, 29, 46, 57, 62, 63, 64, 65, 66, 67, 68, 72, 73, 79, 80, 82, 83, 93, 94, 98, 99, 113, 114, 115),
        *(123, 124, 128, 132, 134, 135, 139, 163, 164, 165, 169, 172, 178, 207, 212, 214, 215, 216, 222, 226, 233),
        *(278, 283, 293),
    ),
}
# Allowed on the process itself only: raising a signal (tgkill), setting limits (prlimit64).
_SIGNAL = {"x86_64": 234, "aarch64": 131}
_LIMIT = {"x86_64": 302, "aarch64": 261}
_ITSELF = 0

# The decoder of HEIC works in threads. The C library first tries clone3, whose flags no filter can see, and after
# ENOSYS clone.
_CLONE = {"x86_64": 56, "aarch64": 220}
_THREAD = 0x00010000


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def shut_in() -> tuple[Wall, ...]:
    """Put up both walls around this process, for good; returns those that the kernel accepted."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    if libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return ()
    walls = ((Wall.LANDLOCK, _landlock), (Wall.SECCOMP, _seccomp))
    return tuple(wall for wall, put_up in walls if put_up(libc))


def _landlock(libc: ctypes.CDLL) -> bool:
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_ABI_VERSION))
    if version < 1:
        return False
    rights = (1 << _FILE_RIGHTS.get(version, _MOST_FILE_RIGHTS)) - 1
    fields = [rights]
    if version >= _NETWORK_SINCE:
        fields.append(0b11)
    if version >= _SCOPES_SINCE:
        fields.append(0b11)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    if ruleset < 0:
        return False
    try:
        # No rule is added: every access that the ruleset names is forbidden everywhere.
        return int(libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))) == 0
    finally:
        os.close(ruleset)


def _seccomp(libc: ctypes.CDLL) -> bool:
    machine = platform.machine()
    if machine not in _AUDIT or struct.calcsize("P") != 8:  # noqa: PLR2004, bytes of a pointer
        return False
    steps = _steps(machine)
    program = _Filter(len(steps) // 8, steps)
    return int(libc.prctl(_SET_SECCOMP, _SECCOMP_FILTER, ctypes.byref(program), 0, 0)) == 0


def _steps(machine: str) -> bytes:
    """The filter for `machine`: it allows the listed calls and answers all others with ENOSYS."""
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _AUDIT[machine]),
        (_RETURN, 0, 0, _NO_SUCH_CALL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for number in _CALLS[machine]:
        steps += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for number, process in ((_SIGNAL[machine], os.getpid()), (_LIMIT[machine], _ITSELF)):
        steps += [
            (_JUMP_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_JUMP_EQUAL, 0, 1, process),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _NO_SUCH_CALL),
        ]
    steps += [
        (_JUMP_EQUAL, 0, 3, _CLONE[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_SET, 0, 1, _THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _NO_SUCH_CALL),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
