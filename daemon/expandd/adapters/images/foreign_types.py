"""Names the types of files that cannot be expanded, by their first bytes."""

from __future__ import annotations

import codecs
import unicodedata

from expandd.domain.errors import Fault, FaultCode

HEAD = 4096
"""Bytes from the start of a file that suffice to name its type."""

EXPORT = "Export it as JPEG, PNG or TIFF and drop that."
UNPACK = "Unpack it, and drop the images that are in it."
INSTEAD = "Drop an image instead."

_TAKEN = "JPEG, PNG, WEBP, HEIC, AVIF, TIFF, BMP, GIF and JPEG 2000"

# How cameras name their makers, and what their raw files are called.
_RAWS = {
    "canon": "Canon CR2",
    "nikon": "Nikon NEF",
    "sony": "Sony ARW",
    "pentax": "Pentax PEF",
    "samsung": "Samsung SRW",
    "phase one": "Phase One IIQ",
}

# (offset, bytes, name, remedy); the first match wins.
_MAGICS: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"IIRO", "a camera raw file (Olympus ORF)", EXPORT),
    (0, b"IIRS", "a camera raw file (Olympus ORF)", EXPORT),
    (0, b"MMOR", "a camera raw file (Olympus ORF)", EXPORT),
    (0, b"IIU\0", "a camera raw file (Panasonic RW2)", EXPORT),
    (0, b"FUJIFILMCCD-RAW", "a camera raw file (Fujifilm RAF)", EXPORT),
    (0, b"FOVb", "a camera raw file (Sigma X3F)", EXPORT),
    (4, b"ftypcrx", "a camera raw file (Canon CR3)", EXPORT),
    (4, b"ftypmif3", "a HEIF image of a kind that cannot be read", EXPORT),
    (4, b"ftypavci", "a HEIF image of a kind that cannot be read", EXPORT),
    (4, b"ftypqt", "a QuickTime video", INSTEAD),
    (4, b"ftyp", "an MP4 video", INSTEAD),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL image", EXPORT),
    (0, b"\xff\x0a", "a JPEG XL image", EXPORT),
    (0, b"II\xbc", "a JPEG XR image", EXPORT),
    (0, b"8BPS", "a Photoshop document", EXPORT),
    (0, b"gimp xcf", "a GIMP document", EXPORT),
    (0, b"\0\0\1\0", "an icon file (ICO)", EXPORT),
    (0, b"v/1\x01", "an OpenEXR image", EXPORT),
    (0, b"qoif", "a QOI image", EXPORT),
    (0, b"DDS ", "a DDS texture", EXPORT),
    (0, b"%PDF", "a PDF document", EXPORT),
    (0, b"%!PS", "a PostScript or EPS document", EXPORT),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript or EPS document", EXPORT),
    (8, b"AVI ", "an AVI video", INSTEAD),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video", INSTEAD),
    (8, b"WAVE", "a sound file", INSTEAD),
    (0, b"ID3", "a sound file", INSTEAD),
    (0, b"OggS", "a sound file", INSTEAD),
    (0, b"fLaC", "a sound file", INSTEAD),
    (30, b"mimetypeimage/openraster", "an OpenRaster document", EXPORT),
    (30, b"mimetypeapplication/x-krita", "a Krita document", EXPORT),
    (0, b"PK\x03\x04", "a ZIP archive or an Office document", UNPACK),
    (0, b"Rar!", "a RAR archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (0, b"\x1f\x8b", "a gzip archive", UNPACK),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document", INSTEAD),
    (0, b"\0\x05\x16\x07", "a helper file that macOS wrote beside an image", INSTEAD),
    (0, b"\x7fELF", "a program", INSTEAD),
    (0, b"MZ", "a program", INSTEAD),
)


def foreign(head: bytes) -> Fault:
    """The fault of a file that begins with `head` (up to HEAD bytes) and is in none of the formats that are read."""
    return _fault(*_named(head))


def camera_raw(maker: str, *, dng: bool) -> Fault:
    """The fault of a camera raw file that looks like a TIFF; `maker` as the camera writes it."""
    name = "DNG" if dng else next((raw for start, raw in _RAWS.items() if maker.lower().startswith(start)), "")
    return _fault(f"a camera raw file ({name})" if name else "a camera raw file", EXPORT)


def _fault(name: str, what_to_do: str) -> Fault:
    message = f"This is {name}; only {_TAKEN} images can be expanded."
    return Fault(FaultCode.UNSUPPORTED_TYPE, message, what_to_do)


def _named(head: bytes) -> tuple[str, str]:
    for offset, magic, name, what_to_do in _MAGICS:
        if head.startswith(magic, offset):
            return name, what_to_do
    return _named_text(_text(head))


def _named_text(text: str) -> tuple[str, str]:
    start = text.lstrip("\ufeff \t\r\n").lower()
    if start.startswith("<") and "<svg" in start:
        return "an SVG drawing", EXPORT
    if start.startswith(("<!doctype html", "<html")):
        return "a web page", INSTEAD
    if start.startswith("<?xml"):
        return "an XML document", INSTEAD
    if text:
        return "a text file", INSTEAD
    return "a file of an unknown type", INSTEAD


def _text(head: bytes) -> str:
    """`head` as text; empty when it is none."""
    # Calls the codecs directly: looking one up by its name opens a file of Python's own, and a decoder opens no file.
    wide = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        # Not final: the head may end within a character.
        text, _ = (codecs.utf_16_decode if wide else codecs.utf_8_decode)(head, "strict", False)
    except UnicodeDecodeError:
        return ""
    control = any(unicodedata.category(char) == "Cc" and char not in "\t\r\n\f" for char in text)
    return "" if control else text
