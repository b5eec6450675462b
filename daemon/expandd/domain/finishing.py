"""Which images are taken, what is sent to the API in their place, and what is made of its image for the result.

Offsets are always those of the original's upright pixels. The API is asked for the same share of the copy that it was
sent, rounded so that what it adds covers the finished canvas: never less than 1 px on a side that was not 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from expandd.domain.errors import Fault, FaultCode, FileFault
from expandd.domain.image import ImageFormat, Prepared, Size, Valid
from expandd.domain.offsets import Offsets, round_half_up
from expandd.domain.result_rules import Accept, Metadata, Oversize, Pixels, ResultRules, format_of, holding

SMALLEST, LARGEST = 64, 4096
"""The least and the most px that the API takes on each side (API.md, Facts)."""

MOST_PIXELS = 250_000_000
"""Px of the largest image that is taken. The scan of an A2 page at 600 dpi has 140 million."""

MOST_OFF = Fraction(1, 50)
"""How far the proportions of the API's image may be from what it was asked for, to be scaled to the full size."""


def sent_size(size: Size) -> Size:
    """The size of the copy that the API is sent of an image of `size`: the same, or LARGEST px on its longer side."""
    longer = max(size.width, size.height)
    if longer <= LARGEST:
        return size
    scale = Fraction(LARGEST, longer)
    return Size(round_half_up(size.width * scale), round_half_up(size.height * scale))


def scaled(offsets: Offsets, original: Size, sent: Size) -> Offsets:
    """The offsets to ask the API for, for a copy of `sent` px of an original of `original` px."""
    if sent == original:
        return offsets
    across, down = Fraction(sent.width, original.width), Fraction(sent.height, original.height)
    return Offsets(
        top=_share(offsets.top, down),
        bottom=_share(offsets.bottom, down),
        left=_share(offsets.left, across),
        right=_share(offsets.right, across),
    )


def _share(side: int, scale: Fraction) -> int:
    # Upwards: too much is cut off again, and what is cropped too little lies under the original's own pixels.
    rounded = -((-side * scale) // 1)
    return int(rounded) or (side > 0) - (side < 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finishing:
    """How the result is made of the original and the API's image. Sizes in px, upright.

    `original` is the original's size and `offsets` what it is to get; `sent` is the size of what the API saw and
    `asked` what it was asked to add. `canvas`: the pixels are written anew, in `format` at `quality` (1 to 100); else
    only metadata is added to the API's own bytes. `pixels`: the original's are put back. `metadata`: EXIF, XMP and IPTC
    come along; the colour profile and the resolution always do.
    """

    original: Size
    offsets: Offsets
    sent: Size
    asked: Offsets
    format: ImageFormat
    canvas: bool
    pixels: bool
    quality: int
    metadata: bool

    @property
    def size(self) -> Size:
        """The size of the result in px."""
        return self.offsets.applied_to(self.original)


def finishing(
    *,
    rules: ResultRules,
    source: ImageFormat,
    original: Size,
    offsets: Offsets,
    prepared: Prepared | None,
    made: ImageFormat,
) -> Finishing:
    """How the result is made where the API saw `prepared`, or the file itself, and made an image of format `made`."""
    sent = prepared.size if prepared else original
    touched = prepared is not None and not prepared.exact
    wanted = format_of(rules.format, source=source, api=made, touched=touched)
    pixels = rules.pixels is Pixels.ORIGINAL or (rules.pixels is Pixels.AUTO and touched)
    canvas = pixels or sent != original or wanted is not made
    return Finishing(
        original=original,
        offsets=offsets,
        sent=sent,
        asked=scaled(offsets, original, sent),
        format=holding(wanted, offsets.applied_to(original)) if canvas else made,
        canvas=canvas,
        pixels=pixels,
        quality=rules.quality,
        metadata=rules.metadata is Metadata.KEEP,
    )


def in_proportion(made: Size, plan: Finishing) -> bool:
    """Whether the API's image, of `made` px, is what it was asked for, perhaps in another size."""
    asked = plan.asked.applied_to(plan.sent)
    ratio = Fraction(made.width * asked.height, made.height * asked.width)
    return abs(ratio - 1) <= MOST_OFF


def most_bytes(size: Size, *, converts: bool) -> int:
    """Bytes that a result of `size` px can take at most: four channels, of two bytes where it may be so deep.

    Of such ones, one is written twice for a while.
    """
    return size.pixels * (12 if converts else 4)


def require_finishable(image: Valid, result: Size) -> None:
    """Raises FileFault for an image whose result, of `result` px, would be too large to be made here."""
    made_here = image.converts or sent_size(image.size) != image.size
    if made_here and result.pixels > MOST_PIXELS:
        message = f"The result would be {result} px; at most {MOST_PIXELS // 1_000_000} megapixels can be made."
        raise FileFault(Fault(FaultCode.TOO_LARGE, message, "Drop a smaller image, or use a folder that adds less."))


def require_fit(image: Valid, accept: Accept = Accept.ALL, oversize: Oversize = Oversize.REDUCE) -> None:
    """Raises FileFault for an image that a folder with these rules does not take."""
    size, sides = image.size, f"{SMALLEST} to {LARGEST} px"
    takes = f"The image is {size} px; only images of {sides} on each side can be expanded."
    if accept is Accept.API and not image.format.taken_by_api:
        message = f"This is a {image.format.title} image; this folder takes only JPEG, PNG and WEBP (`accept: api`)."
        raise FileFault(Fault(FaultCode.UNSUPPORTED_TYPE, message, "Export it as JPEG, PNG or WEBP and drop that."))
    if min(size.width, size.height) < SMALLEST:
        what = f"Export it with at least {SMALLEST} px on its shorter side and drop that."
        raise FileFault(Fault(FaultCode.TOO_SMALL, takes, what))
    sent = sent_size(size)
    if sent == size:
        return
    if oversize is Oversize.ERROR:
        what = f"Export it with at most {LARGEST} px on its longer side and drop that."
        raise FileFault(Fault(FaultCode.TOO_LARGE, takes, what))
    if min(sent.width, sent.height) < SMALLEST:
        message = f"The image is {size} px: reduced to {LARGEST} px it is only {sent}, and the API takes {sides}."
        raise FileFault(Fault(FaultCode.TOO_SMALL, message, "Cut it into shorter pieces and drop those."))
