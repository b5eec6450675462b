"""What a result looks like inside and outside of the source."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, ImageStat

from expandd.simulator.switches import ResultMetadata, ResultType, Switches
from tests.simulator.desk import Desk, an_image, opened


@pytest.fixture
def pro(make_desk: Callable[..., Desk]) -> Desk:
    return make_desk(pro=True)


def expanded(desk: Desk, data: bytes, **offsets: int) -> Image.Image:
    all_four = {"top": 0, "bottom": 0, "left": 0, "right": 0} | offsets
    return opened(desk.plain.get(desk.link(data, **all_four)).content)


def encoded(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("offsets", "size"),
    [
        ({"top": 7, "bottom": 11, "left": 13, "right": 17}, (110, 88)),
        ({"top": -7, "bottom": -11, "left": -13, "right": -17}, (50, 52)),
        ({"left": 300, "top": -30}, (380, 40)),
        ({"bottom": 400}, (80, 470)),
        ({"left": -90, "right": 30}, (20, 70)),
        ({"left": -79, "top": -69}, (1, 1)),
        ({}, (80, 70)),
    ],
)
def test_the_size_is_the_sources_plus_the_offsets(pro: Desk, offsets: dict[str, int], size: tuple[int, int]) -> None:
    assert expanded(pro, an_image(80, 70), **offsets).size == size


def test_the_sources_pixels_are_untouched_and_at_their_place(pro: Desk) -> None:
    data = an_image(80, 70)
    result = expanded(pro, data, left=30, top=20, right=10, bottom=5)
    assert result.crop((30, 20, 110, 90)).tobytes() == opened(data).tobytes()


def test_a_negative_offset_cuts_from_its_own_side(pro: Desk) -> None:
    data = an_image(80, 70)
    result = expanded(pro, data, left=-30, top=15, right=12, bottom=-20)
    assert result.crop((0, 15, 50, 65)).tobytes() == opened(data).crop((30, 0, 80, 50)).tobytes()


def test_the_surroundings_go_on_from_the_border_without_a_step(pro: Desk) -> None:
    data = encoded(Image.linear_gradient("L").resize((200, 100)).convert("RGB"))
    result = expanded(pro, data, left=60, right=60, top=40, bottom=40).convert("L")
    grey = result.tobytes()
    for inside, outside in [((60, 90), (59, 90)), ((259, 90), (260, 90)), ((150, 40), (150, 39))]:
        first, second = (grey[y * result.width + x] for x, y in (inside, outside))
        assert abs(first - second) <= 8


def test_the_surroundings_take_their_colour_from_the_near_border(pro: Desk) -> None:
    image = Image.new("RGB", (200, 100), (200, 40, 40))
    image.paste((30, 60, 190), (100, 0, 200, 100))
    result = expanded(pro, encoded(image), left=80, right=80)
    left = ImageStat.Stat(result.crop((0, 0, 70, 100))).mean
    right = ImageStat.Stat(result.crop((290, 0, 360, 100))).mean
    assert left[0] > 150 > left[2]
    assert right[2] > 150 > right[0]


def test_no_surroundings_are_one_flat_colour(pro: Desk) -> None:
    data = encoded(Image.new("RGB", (100, 100), (120, 130, 140)))
    result = expanded(pro, data, left=100)
    assert max(ImageStat.Stat(result.crop((0, 0, 60, 100))).stddev) > 1


def test_plain_surroundings_are_one_flat_colour(make_desk: Callable[..., Desk]) -> None:
    result = expanded(make_desk(pro=True, plain=True), an_image(80, 70), left=40, top=20)
    assert result.size == (120, 90)
    assert result.crop((0, 0, 120, 20)).getcolors() == [(120 * 20, result.getpixel((40, 20)))]
    assert result.crop((40, 20, 120, 90)).tobytes() == opened(an_image(80, 70)).tobytes()


def test_the_exif_orientation_is_ignored(pro: Desk) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    result = expanded(pro, an_image(100, 70, "JPEG", exif=exif), left=10)
    assert result.size == (110, 70)


def test_a_colour_profile_is_kept(pro: Desk) -> None:
    result = expanded(pro, an_image(kind="PNG", icc_profile=b"a profile"), left=10)
    assert result.info["icc_profile"] == b"a profile"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("wanted", [ResultType.SAME, ResultType.JPEG, ResultType.PNG, ResultType.WEBP])
def test_what_is_kept_of_the_metadata_is_a_switch(
    make_desk: Callable[..., Desk], kind: str, wanted: ResultType
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    data = an_image(kind=kind, icc_profile=b"a profile", exif=exif, dpi=(300, 300))
    none, profile, everything = (
        expanded(make_desk(pro=True, result_type=wanted, result_metadata=kept), data, left=10)
        for kept in (ResultMetadata.NONE, ResultMetadata.PROFILE, ResultMetadata.ALL)
    )
    assert not {"icc_profile", "exif", "dpi"} & none.info.keys()
    assert profile.info["icc_profile"] == b"a profile"
    assert not {"exif", "dpi"} & profile.info.keys()
    assert everything.info["icc_profile"] == b"a profile"
    assert everything.getexif()[0x010F] == "a maker"
    # A WEBP has no place for dpi outside of its EXIF.
    if "WEBP" not in (kind, everything.format):
        assert everything.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def test_colours_can_be_shifted_inside_of_the_source_too(make_desk: Callable[..., Desk]) -> None:
    data = encoded(Image.new("RGB", (80, 70), (100, 254, 1)))
    result = expanded(make_desk(pro=True, plain=True, colour_shift=3), data, left=10)
    assert result.getcolors() == [(90 * 70, (103, 255, 0))]


def test_a_shift_of_colours_leaves_transparency_alone(make_desk: Callable[..., Desk]) -> None:
    data = encoded(Image.new("RGBA", (80, 70), (100, 100, 100, 77)))
    result = expanded(make_desk(pro=True, plain=True, colour_shift=-5), data, left=10)
    assert result.getcolors() == [(90 * 70, (95, 95, 105, 77))]


def test_details_can_be_blurred_inside_of_the_source_too(make_desk: Callable[..., Desk]) -> None:
    data = an_image(noise=True)
    sharp, soft = (
        ImageStat.Stat(expanded(make_desk(pro=True, blur=blur), data, left=10).crop((20, 10, 80, 60)))
        for blur in (0.0, 1.0)
    )
    assert soft.stddev[0] < sharp.stddev[0] / 2
    assert soft.mean[0] == pytest.approx(sharp.mean[0], abs=3)


def test_a_negative_blur_is_refused() -> None:
    with pytest.raises(ValueError, match="blur"):
        Switches(blur=-1)


def test_the_first_image_of_several_in_a_jpeg_is_taken_as_the_jpeg_it_is(pro: Desk) -> None:
    first, second = (opened(an_image(80, 70, "JPEG", seed=seed)) for seed in (1, 2))
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert expanded(pro, data, left=10).format == "JPEG"


def test_transparency_is_kept(pro: Desk) -> None:
    image = opened(an_image(80, 80)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((80, 80)))
    result = expanded(pro, encoded(image), left=40)
    assert result.mode == "RGBA"
    assert result.crop((40, 0, 120, 80)).tobytes() == image.tobytes()
    alpha = result.getchannel("A")
    assert ImageStat.Stat(alpha.crop((0, 0, 40, 20))).mean[0] < 80
    assert ImageStat.Stat(alpha.crop((0, 60, 40, 80))).mean[0] > 175


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "CMYK"])
def test_every_colour_mode_is_taken(pro: Desk, mode: str) -> None:
    image = opened(an_image(80, 80)).convert(mode)
    data = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    assert expanded(pro, data, left=40, top=10).size == (120, 90)


def test_a_16_bit_grey_keeps_its_brightness(pro: Desk) -> None:
    grey = Image.new("I;16", (80, 80), 0x4000)
    result = expanded(pro, encoded(grey), left=40)
    assert result.getpixel((60, 40)) == (0x40, 0x40, 0x40)


def test_without_pro_a_mark_stands_in_the_lower_right_corner_only(make_desk: Callable[..., Desk]) -> None:
    data = an_image(300, 200)
    plain, marked = (expanded(make_desk(pro=pro), data, right=100) for pro in (True, False))
    assert plain.size == marked.size == (400, 200)
    assert plain.crop((0, 0, 400, 150)).tobytes() == marked.crop((0, 0, 400, 150)).tobytes()
    assert plain.crop((250, 150, 400, 200)).tobytes() != marked.crop((250, 150, 400, 200)).tobytes()


def test_a_result_too_small_for_the_mark_is_still_marked_and_sent(desk: Desk) -> None:
    assert expanded(desk, an_image(64, 64), left=-60, top=-60).size == (4, 4)
