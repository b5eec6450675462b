"""Images that are odd, or made to do harm: files of several images, of many parts, of texts that swell."""

from __future__ import annotations

import functools
import struct
import zlib

from PIL import Image

from tests.support.images import an_image, chunk, encoded


def several_images(width: int = 300, height: int = 200, *, orientation: int = 1) -> tuple[bytes, bytes]:
    """A JPEG of two images, as phones and cameras write it (MPF), and the first of them as a file of its own."""
    first = an_image("jpeg", width, height, orientation=orientation)
    second = an_image("jpeg", width // 2, height // 2, seed=9)
    # Where in the first image the list lies: behind JFIF's segment, as ever.
    at = 2 + 2 + int.from_bytes(first[4:6])
    entries = [(0xB000, 7, 4, int.from_bytes(b"0100", "little")), (0xB001, 4, 1, 2), (0xB002, 7, 32, 50)]
    index = b"II*\0" + struct.pack("<IH", 8, 3) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    length = 2 + 4 + len(index) + 32
    # Offsets count from the list's own beginning, behind its name.
    behind = len(first) + 2 + length - (at + 8)
    images = struct.pack("<IIIHH", 0x20030000, len(first) + 2 + length, 0, 0, 0)
    images += struct.pack("<IIIHH", 0, len(second), behind, 0, 0)
    segment = b"\xff\xe2" + struct.pack(">H", length) + b"MPF\0" + index + images
    return first[:at] + segment + first[at:] + second, first


def many_scans(scans: int, width: int = 256, height: int = 256) -> bytes:
    """A progressive JPEG whose last scan is there so many times."""
    # Of one colour: each of its scans is a few bytes, and goes over all pixels all the same.
    whole = encoded(Image.new("RGB", (width, height), "grey"), "jpeg", progressive=True)
    start = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[start:-2] * scans + whole[-2:]


def many_chunks(chunks: int, kind: bytes = b"IDAT") -> bytes:
    """A PNG with so many empty chunks of a kind before its end."""
    whole = an_image("png")
    return whole[:-12] + chunk(kind, b"") * chunks + whole[-12:]


def with_chunk(png: bytes, kind: bytes, body: bytes, *, harmed: bool = False) -> bytes:
    """`png` with one more chunk behind its header; `harmed`: with a wrong sum."""
    added = chunk(kind, body)
    if harmed:
        added = added[:-1] + bytes((added[-1] ^ 1,))
    return png[:33] + added + png[33:]


def swelling_text(size: int, kind: bytes = b"zTXt") -> bytes:
    """A PNG that carries a text, or a profile, which unpacks to so many bytes."""
    before = b"Comment\0\1\0\0\0" if kind == b"iTXt" else b"Comment\0\0"
    return with_chunk(an_image("png"), kind, before + _packed(size))


@functools.cache
def _packed(size: int) -> bytes:
    """So many zeros; many tests have the same, and each process that runs tests makes them."""
    return zlib.compress(bytes(size), 9)


def apple_png() -> bytes:
    """A PNG as iPhone apps carry them: with a chunk before the header, and data without zlib's head and sum."""
    whole = an_image("png")
    return whole[:8] + chunk(b"CgBI", b"\x50\0\x20\6") + whole[8:]


def webp_claiming(width: int, height: int) -> bytes:
    """48 bytes: a WEBP whose canvas is said to be so large."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sides + b"VP8 " + struct.pack("<I", 10) + bytes(10)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_with_exif(zeros: int, *, beside: int = 0) -> bytes:
    """A WEBP whose EXIF ends in so many zeros; `beside`: zeros behind its last chunk, which its header counts in."""
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    whole = an_image("webp", 200, 100, exif=exif.tobytes() + bytes(zeros)) + bytes(beside)
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
