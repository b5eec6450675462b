from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from expandd.domain.errors import FaultCode, FileFault
from expandd.domain.image import Size
from expandd.domain.offsets import Amount, Anchor, Aspect, Canvas, Offsets, Preset, Sides, Unit, resolve
from expandd.domain.offsets import round_half_up as rounded

A = Anchor

sides = st.integers(64, 4096)
sizes = st.builds(Size, sides, sides)
ratios = st.builds(Fraction, st.integers(1, 64), st.integers(1, 64))
anchors = st.sampled_from(Anchor)


def px(value: int) -> Amount:
    return Amount(Fraction(value))


def percent(value: str | int) -> Amount:
    return Amount(Fraction(value), Unit.PERCENT)


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        ("0", 0),
        ("1/2", 1),  # half goes up
        ("-1/2", 0),  # also below zero
        ("-3/2", -1),
        ("49/100", 0),
        ("-51/100", -1),
        ("5/2", 3),  # not to even
        ("7", 7),
    ],
)
def test_half_is_rounded_up(value: str, whole: int) -> None:
    assert rounded(Fraction(value)) == whole


@pytest.mark.parametrize(
    ("amount", "side", "pixels"),
    [
        (px(36), 900, 36),  # pixels are what they are
        (px(-25), 64, -25),  # a crop
        (percent(25), 900, 225),
        (percent(25), 901, 225),  # 225.25
        (percent(25), 902, 226),  # 225.5: up
        (percent("0.1"), 64, 0),  # 0.064
        (percent("12.5"), 100, 13),  # 12.5: up
        (percent("-12.5"), 100, -12),  # -12.5: up, too
        (percent(100), 4096, 4096),
        (percent("33.333"), 3000, 1000),  # 999.99
    ],
)
def test_an_amount_becomes_whole_pixels(amount: Amount, side: int, pixels: int) -> None:
    assert amount.of(side) == pixels


def test_percent_is_of_the_width_at_the_sides_and_of_the_height_above_and_below() -> None:
    preset = Sides(top=percent(10), bottom=percent(20), left=percent(30), right=percent(40))

    assert preset.offsets_for(Size(1000, 200)) == Offsets(top=20, bottom=40, left=300, right=400)


def test_the_example_of_the_api_is_885_by_700() -> None:
    offsets = Offsets(top=100, bottom=0, left=-25, right=10)

    assert offsets.applied_to(Size(900, 600)) == Size(885, 700)
    assert str(offsets.applied_to(Size(900, 600))) == "885×700"


@pytest.mark.parametrize(
    ("size", "ratio", "anchor", "offsets"),
    [
        # 16:9 from 4:3: wider, the same on both sides
        (Size(800, 600), "16/9", A.CENTER, Offsets(left=133, right=134)),
        # 9:16 from 4:3: higher; 1422.2 is nearest to 1422
        (Size(800, 600), "9/16", A.CENTER, Offsets(top=411, bottom=411)),
        # the whole addition on the right of an image that stays left
        (Size(800, 600), "16/9", A.LEFT, Offsets(right=267)),
        (Size(800, 600), "16/9", A.RIGHT, Offsets(left=267)),
        # an anchor of the other axis leaves this one centred
        (Size(800, 600), "16/9", A.TOP, Offsets(left=133, right=134)),
        (Size(600, 800), "1/2", A.TOP, Offsets(bottom=400)),
        (Size(600, 800), "1/2", A.BOTTOM, Offsets(top=400)),
        (Size(600, 800), "1/2", A.TOP_LEFT, Offsets(bottom=400)),
        (Size(600, 800), "2", A.TOP_RIGHT, Offsets(left=1000)),
        (Size(600, 800), "2", A.BOTTOM_LEFT, Offsets(right=1000)),
        # exactly half a pixel: up
        (Size(100, 101), "1/2", A.CENTER, Offsets(top=49, bottom=50)),
        # there already
        (Size(1600, 900), "16/9", A.CENTER, Offsets()),
        # as near as whole pixels come
        (Size(1601, 900), "16/9", A.CENTER, Offsets(bottom=1)),
    ],
)
def test_an_aspect_is_reached_by_the_smallest_expansion(
    size: Size, ratio: str, anchor: Anchor, offsets: Offsets
) -> None:
    assert Aspect(ratio=Fraction(ratio), anchor=anchor).offsets_for(size) == offsets


@given(size=sizes, ratio=ratios, anchor=anchors)
def test_an_aspect_is_within_half_a_pixel_and_never_crops(size: Size, ratio: Fraction, anchor: Anchor) -> None:
    offsets = Aspect(ratio=ratio, anchor=anchor).offsets_for(size)
    result = offsets.applied_to(size)

    assert min(offsets.top, offsets.bottom, offsets.left, offsets.right) >= 0
    assert result.width == size.width or result.height == size.height
    near_width = abs(result.width - result.height * ratio) <= Fraction(1, 2)
    near_height = abs(result.height - result.width / ratio) <= Fraction(1, 2)
    assert near_width or near_height


@given(size=sizes, ratio=ratios)
def test_an_aspect_of_an_aspect_is_itself(size: Size, ratio: Fraction) -> None:
    preset = Aspect(ratio=ratio)
    once = preset.offsets_for(size).applied_to(size)
    twice = preset.offsets_for(once).applied_to(once)

    assert abs(twice.width - once.width) <= 1 + ratio
    assert abs(twice.height - once.height) <= 1 + 1 / ratio


@pytest.mark.parametrize(
    ("size", "canvas", "offsets"),
    [
        # larger all round
        (Size(1000, 600), Canvas(width=1200, height=800), Offsets(top=100, bottom=100, left=100, right=100)),
        # wider and cut above and below
        (Size(1000, 1000), Canvas(width=2400, height=800), Offsets(top=-100, bottom=-100, left=700, right=700)),
        # cut on both axes, the image's left kept
        (Size(3000, 1000), Canvas(width=2400, height=800, anchor=A.LEFT), Offsets(top=-100, bottom=-100, right=-600)),
        # an odd pixel goes right and below, added …
        (Size(101, 101), Canvas(width=104, height=104), Offsets(top=1, bottom=2, left=1, right=2)),
        # … and cut
        (Size(104, 104), Canvas(width=101, height=101), Offsets(top=-1, bottom=-2, left=-1, right=-2)),
        # a side left out keeps the image's own
        (Size(500, 400), Canvas(width=600), Offsets(left=50, right=50)),
        (Size(500, 400), Canvas(height=600, anchor=A.BOTTOM), Offsets(top=200)),
        (Size(500, 400), Canvas(width=500, height=400), Offsets()),
    ],
)
def test_a_canvas_is_filled_and_what_does_not_fit_is_cropped(size: Size, canvas: Canvas, offsets: Offsets) -> None:
    assert canvas.offsets_for(size) == offsets


@given(size=sizes, width=st.integers(1, 9000), height=st.integers(1, 9000), anchor=anchors)
def test_a_canvas_has_exactly_its_size(size: Size, width: int, height: int, anchor: Anchor) -> None:
    offsets = Canvas(width=width, height=height, anchor=anchor).offsets_for(size)

    assert offsets.applied_to(size) == Size(width, height)
    # Nothing is added on one side and cut on the other.
    assert offsets.left * offsets.right >= 0
    assert offsets.top * offsets.bottom >= 0


@pytest.mark.parametrize(
    "preset",
    [
        Sides(),  # says nothing
        Sides(left=percent("0.09"), right=percent("0.09")),  # rounds to nothing
        Aspect(ratio=Fraction(5, 4)),  # is there already
        Canvas(width=500),  # has that width
    ],
)
def test_a_preset_that_changes_nothing_is_refused(preset: Preset) -> None:
    with pytest.raises(FileFault) as caught:
        resolve(preset, Size(500, 400))

    assert caught.value.fault.code is FaultCode.NOTHING_TO_DO
    assert "500×400" in caught.value.fault.message


@pytest.mark.parametrize(
    ("preset", "left"),
    [
        (Sides(left=px(-499)), Size(1, 400)),  # one column is left
        (Sides(left=px(-500)), None),  # none is
        (Sides(left=px(-300), right=px(-300)), None),  # both sides meet
        (Sides(top=percent(-50), bottom=percent(-50)), None),  # both halves are cut
        (Sides(top=percent(-50), bottom=percent("-49.75")), Size(500, 1)),
        (Sides(left=px(-600), right=px(101)), Size(1, 400)),  # added on the other side
    ],
)
def test_at_least_one_pixel_must_be_left(preset: Preset, left: Size | None) -> None:
    size = Size(500, 400)
    if left is not None:
        assert resolve(preset, size).applied_to(size) == left
        return
    with pytest.raises(FileFault) as caught:
        resolve(preset, size)

    assert caught.value.fault.code is FaultCode.OFFSETS_LEAVE_NOTHING
    assert caught.value.fault.what_to_do


@given(size=sizes, left=st.integers(-5000, 5000), top=st.integers(-5000, 5000))
def test_what_is_resolved_changes_something_and_leaves_something(size: Size, left: int, top: int) -> None:
    assume((left, top) != (0, 0))
    try:
        offsets = resolve(Sides(left=px(left), top=px(top)), size)
    except FileFault:
        assert size.width + left < 1 or size.height + top < 1
        return
    result = offsets.applied_to(size)

    assert not offsets.nothing
    assert result.width >= 1
    assert result.height >= 1


def test_offsets_are_said_in_words() -> None:
    assert str(Offsets(top=1, bottom=-2, left=3, right=0)) == "top 1, bottom -2, left 3, right 0"
