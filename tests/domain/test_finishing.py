from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expandd.domain.errors import FaultCode, FileFault
from expandd.domain.finishing import (
    LARGEST,
    Finishing,
    finishing,
    in_proportion,
    require_finishable,
    require_fit,
    scaled,
    sent_size,
)
from expandd.domain.image import ImageFormat, Prepared, Size, Valid
from expandd.domain.offsets import Offsets
from expandd.domain.result_rules import Accept, Metadata, Oversize, Pixels, ResultFormat, ResultRules

F = ImageFormat
CAMERA = Size(6000, 4000)
SMALL = Size(800, 600)
OFFSETS = Offsets(top=100, left=50)
DEFAULT = ResultRules()
REDUCED = Prepared(format=F.JPEG, size=Size(4096, 2731), exact=False)

sides = st.integers(64, 20_000)


def made_of(
    source: ImageFormat = F.JPEG,
    original: Size = SMALL,
    prepared: Prepared | None = None,
    rules: ResultRules = DEFAULT,
    made: ImageFormat = F.PNG,
) -> Finishing:
    return finishing(rules=rules, source=source, original=original, offsets=OFFSETS, prepared=prepared, made=made)


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        (SMALL, SMALL),
        (Size(4096, 4096), Size(4096, 4096)),
        (CAMERA, Size(4096, 2731)),
        (Size(64, 8192), Size(32, 4096)),
    ],
)
def test_a_copy_has_at_most_4096_px_on_its_longer_side(size: Size, sent: Size) -> None:
    assert sent_size(size) == sent


@given(st.builds(Size, sides, sides))
def test_a_copy_keeps_the_proportions(size: Size) -> None:
    sent = sent_size(size)
    assert max(sent.width, sent.height) <= LARGEST
    shorter = min(size.width, size.height) * Fraction(LARGEST, max(size.width, size.height, LARGEST))
    assert abs(min(sent.width, sent.height) - shorter) <= Fraction(1, 2)


amounts = st.integers(-3000, 3000)
some_offsets = st.builds(Offsets, top=amounts, bottom=amounts, left=amounts, right=amounts)


@given(some_offsets, st.builds(Size, sides, sides))
def test_what_is_asked_for_covers_the_finished_canvas_by_less_than_two_pixels(offsets: Offsets, size: Size) -> None:
    sent = sent_size(size)
    asked = scaled(offsets, size, sent)
    for side, scale in (("left", Fraction(sent.width, size.width)), ("top", Fraction(sent.height, size.height))):
        wanted, got = getattr(offsets, side), getattr(asked, side)
        assert bool(got) == bool(wanted)
        assert -1 <= got - wanted * scale < 1
        if wanted > 0:
            assert got >= wanted * scale


def test_an_image_that_is_sent_as_it_is_gets_its_own_offsets() -> None:
    assert scaled(OFFSETS, SMALL, SMALL) == OFFSETS


@pytest.mark.parametrize(
    ("whole", "accept", "oversize", "code"),
    [
        (Valid(format=F.TIFF, size=SMALL, orientation=1), Accept.API, Oversize.REDUCE, FaultCode.UNSUPPORTED_TYPE),
        (Valid(format=F.JPEG, size=Size(63, 600), orientation=1), Accept.ALL, Oversize.REDUCE, FaultCode.TOO_SMALL),
        (Valid(format=F.JPEG, size=CAMERA, orientation=1), Accept.ALL, Oversize.ERROR, FaultCode.TOO_LARGE),
        (Valid(format=F.JPEG, size=Size(20_000, 200), orientation=1), Accept.ALL, Oversize.REDUCE, FaultCode.TOO_SMALL),
    ],
)
def test_what_a_folder_does_not_take(whole: Valid, accept: Accept, oversize: Oversize, code: FaultCode) -> None:
    with pytest.raises(FileFault) as refused:
        require_fit(whole, accept, oversize)
    assert refused.value.fault.code is code
    assert str(whole.size) in refused.value.fault.message or "TIFF" in refused.value.fault.message


@pytest.mark.parametrize("image_format", list(F))
def test_any_format_and_size_is_taken_by_default(image_format: ImageFormat) -> None:
    require_fit(Valid(format=image_format, size=CAMERA, orientation=6, converts=True), Accept.ALL, Oversize.REDUCE)


def test_an_untouched_original_keeps_what_the_api_made() -> None:
    plan = made_of()
    assert (plan.canvas, plan.pixels, plan.format, plan.metadata) == (False, False, F.PNG, True)


def test_an_exact_copy_counts_as_the_original() -> None:
    plan = made_of(prepared=Prepared(format=F.PNG, size=SMALL, exact=True))
    assert (plan.canvas, plan.pixels, plan.format) == (False, False, F.PNG)


@pytest.mark.parametrize(
    ("source", "result"),
    [
        *((one, one) for one in (F.JPEG, F.PNG, F.WEBP, F.TIFF)),
        *((one, F.JPEG) for one in (F.HEIC, F.AVIF)),
        *((one, F.PNG) for one in (F.BMP, F.GIF, F.JPEG2000)),
    ],
)
def test_a_reduced_original_gets_its_pixels_and_its_format_back(source: ImageFormat, result: ImageFormat) -> None:
    plan = made_of(source=source, original=CAMERA, prepared=REDUCED)
    assert (plan.canvas, plan.pixels, plan.format) == (True, True, result)
    assert plan.size == Size(6050, 4100)
    assert plan.sent == Size(4096, 2731)
    assert plan.asked == Offsets(top=69, left=35)


def test_the_rules_of_a_folder_decide() -> None:
    rules = ResultRules(pixels=Pixels.API, format=ResultFormat.TIFF, quality=80, metadata=Metadata.STRIP)
    plan = made_of(original=CAMERA, prepared=REDUCED, rules=rules)
    assert (plan.canvas, plan.pixels, plan.format, plan.quality, plan.metadata) == (True, False, F.TIFF, 80, False)
    assert made_of(rules=ResultRules(format=ResultFormat.WEBP)).canvas
    assert made_of(rules=ResultRules(format=ResultFormat.SOURCE)).format is F.JPEG
    assert not made_of(rules=ResultRules(format=ResultFormat.API)).canvas
    assert made_of(rules=ResultRules(pixels=Pixels.ORIGINAL)).canvas


def test_an_image_of_other_proportions_is_not_what_was_asked_for() -> None:
    plan = made_of(original=CAMERA, prepared=REDUCED)
    asked = plan.asked.applied_to(plan.sent)
    assert in_proportion(asked, plan)
    assert in_proportion(Size(asked.width // 2, asked.height // 2), plan)
    assert not in_proportion(Size(asked.width, asked.height * 2), plan)


def test_a_result_too_wide_for_its_format_is_a_png() -> None:
    wide = Size(16_380, 600)
    prepared = Prepared(format=F.PNG, size=sent_size(wide), exact=False)
    assert made_of(source=F.WEBP, original=wide, prepared=prepared).format is F.PNG
    rules = ResultRules(format=ResultFormat.API)
    assert made_of(source=F.JPEG, original=wide, prepared=prepared, rules=rules, made=F.WEBP).format is F.PNG
    assert made_of(source=F.WEBP, original=CAMERA, prepared=REDUCED).format is F.WEBP


def test_what_could_not_be_finished_is_refused_before_it_is_paid_for() -> None:
    camera = Valid(format=F.JPEG, size=CAMERA, orientation=1)
    require_finishable(camera, Size(15_000, 16_000))
    with pytest.raises(FileFault) as refused:
        require_finishable(camera, Size(16_000, 16_000))
    assert refused.value.fault.code is FaultCode.TOO_LARGE
    require_finishable(Valid(format=F.JPEG, size=SMALL, orientation=1), Size(16_000, 16_000))
