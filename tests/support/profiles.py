"""Small colour profiles: of sRGB, and of the same colours by another curve."""

from __future__ import annotations

import functools
import struct

from PIL import ImageCms


@functools.cache
def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def gamma_profile(gamma: float, *, grey: bool = False) -> bytes:
    """A profile of the colours of sRGB, or of grey, whose numbers follow a power of `gamma`."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    colours = {
        b"rXYZ": (0.43607, 0.22249, 0.01392),
        b"gXYZ": (0.38515, 0.71687, 0.09708),
        b"bXYZ": (0.14307, 0.06061, 0.71410),
    }
    tags = {b"wtpt": _xyz(0.9642, 1.0, 0.8249), b"desc": _text(), b"cprt": b"text" + bytes(4) + b"none\0\0\0\0"}
    if grey:
        tags[b"kTRC"] = curve
    else:
        tags |= {name: _xyz(*xyz) for name, xyz in colours.items()}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    at, table, body = 132 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(content))
        body += content
    space = b"GRAY" if grey else b"RGB "
    length = at + len(body)
    head = struct.pack(">I4sI4s4s4s", length, bytes(4), 0x02100000, b"mntr", space, b"XYZ ")
    head = head.ljust(36, b"\0") + b"acsp"
    head = head.ljust(68, b"\0") + _xyz(0.9642, 1.0, 0.8249)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _text() -> bytes:
    name = b"a profile\0"
    return b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78 + 12 - len(name))
