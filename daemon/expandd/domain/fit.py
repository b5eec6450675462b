"""Which images can be expanded, by their format and size."""

from __future__ import annotations

from expandd.domain.errors import Fault, FaultCode, FileFault
from expandd.domain.finishing import LARGEST, MOST_PIXELS, SMALLEST, sent_size
from expandd.domain.image import Size, Whole
from expandd.domain.result_rules import Accept, Oversize


def require_finishable(image: Whole, result: Size) -> None:
    """Raises FileFault for an image whose result, of `result` px, would be too large to be made here."""
    made_here = image.converts or sent_size(image.size) != image.size
    if made_here and result.pixels > MOST_PIXELS:
        message = f"The result would be {result} px; at most {MOST_PIXELS // 1_000_000} megapixels can be made."
        raise FileFault(Fault(FaultCode.TOO_LARGE, message, "Drop a smaller image, or use a folder that adds less."))


def require_fit(image: Whole, accept: Accept = Accept.ALL, oversize: Oversize = Oversize.REDUCE) -> None:
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
