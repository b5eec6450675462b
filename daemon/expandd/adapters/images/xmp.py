"""Changes XMP packets: joins and divides extended ones, and sets orientation and size of an upright image."""

from __future__ import annotations

import hashlib
import re
from xml.parsers import expat

from expandd.domain.image import Size

_HEAD = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
_TAIL = b"</rdf:RDF></x:xmpmeta>"
_NOTE = re.compile(rb"""\sxmpNote:HasExtendedXMP\s*=\s*["']([0-9A-Fa-f]{32})["']""")
_RDF_END, _META_END = b"</rdf:RDF>", b"</x:xmpmeta>"
_THUMBNAILS, _THUMBNAILS_END = b"<xmp:Thumbnails>", b"</xmp:Thumbnails>"


def merged(packet: bytes, extension: dict[bytes, list[tuple[int, bytes]]]) -> bytes:
    """The packet joined with the extension that it names; the packet alone where the pieces do not fit."""
    note = _NOTE.search(packet)
    pieces = sorted(extension.get(note[1], ())) if note else []
    whole = bytearray()
    for offset, piece in pieces:
        if offset != len(whole):
            return packet
        whole += piece
    _, start, content = bytes(whole).partition(b"<rdf:RDF")
    content = content.partition(b">")[2].rpartition(_RDF_END)[0]
    before, end, after = packet.rpartition(_RDF_END)
    if not start or not end:
        return packet
    joined = _NOTE.sub(b"", before, count=1) + content + end + after
    return joined if _well_formed(joined) else packet


def _well_formed(packet: bytes) -> bool:
    parser = expat.ParserCreate(namespace_separator=" ")

    def refuse(*_: object) -> None:
        raise expat.ExpatError("a document type, which packets never have")

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(packet, True)
    except expat.ExpatError:
        return False
    return True


def divided(packet: bytes) -> tuple[bytes, bytes, bytes]:
    """A short packet that announces its extension, the extension's name, and the extension with the whole packet."""
    # An extension has no xpacket wrapper.
    before, end, _ = packet.rpartition(_META_END)
    start = before.find(b"<x:xmpmeta")
    extension = before[start:] + end if start >= 0 else packet
    name = hashlib.md5(extension, usedforsecurity=False).hexdigest().upper().encode()
    note = b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s"/>'
    return _HEAD + note % name + _TAIL, name, extension


def upright_xmp(packet: bytes, size: Size) -> bytes:
    """The packet with orientation 1 and the sides of `size` where it states them, and without thumbnails."""
    for names, value in (
        (b"tiff:Orientation", 1),
        (b"tiff:ImageWidth|exif:PixelXDimension", size.width),
        (b"tiff:ImageLength|exif:PixelYDimension", size.height),
    ):
        put = rb"\g<1>%d\g<2>" % value
        packet = re.sub(rb"""((?:%s)\s*=\s*["'])\d{1,9}(["'])""" % names, put, packet)
        packet = re.sub(rb"(<(?:%s)>)\s*\d{1,9}\s*(</)" % names, put, packet)
    start = packet.find(_THUMBNAILS)
    end = packet.find(_THUMBNAILS_END, start)
    return packet[:start] + packet[end + len(_THUMBNAILS_END) :] if 0 <= start < end else packet
