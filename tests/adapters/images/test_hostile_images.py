"""Images made to do harm get their answer at once; odd ones that every viewer shows are whole; walls hold."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from expandd.adapters.images.decoders import PillowImages
from expandd.adapters.images.sandbox import Wall
from expandd.domain.errors import DecoderAway, FaultCode, FileFault, Later
from expandd.domain.image import ImageFormat, Incomplete, Inspection, Invalid, Prepared, Size, Valid
from tests.support.images import CORNERS, an_image, png_claiming
from tests.support.odd_images import (
    apple_png,
    many_chunks,
    many_scans,
    several_images,
    swelling_text,
    webp_claiming,
    webp_with_exif,
    with_chunk,
)

# A child that puts up its walls, and then tries what the image says.
TRYING = """
import os, socket, sys
from expandd.adapters.images import decoder_program as real

def carry_out(request, files):
    said = os.pread(files[0], 200, 0).decode().splitlines()
    tries = {
        "open": lambda: open(said[1]).close(),
        "list": lambda: os.listdir(said[1]),
        "make": lambda: open(said[1] + ".made", "w").close(),
        "remove": lambda: os.unlink(said[1]),
        "network": lambda: socket.socket().close(),
        "local": lambda: socket.socket(socket.AF_UNIX).close(),
        "start": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "fork": os.fork,
        "kill": lambda: os.kill(os.getppid(), 0),
        "limit": lambda: real.resource.prlimit(os.getppid(), real.resource.RLIMIT_NOFILE, (1, 1)),
    }
    try:
        tries[said[0]]()
    except OSError as error:
        return real.NotNow(f"refused: {error.errno}")
    return real.NotNow("done")

real.load()
real.confine()
real.serve(carry_out, real.shut_in)
"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


def written(directory: Path, data: bytes, name: str = "image") -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


async def judged(images: PillowImages, directory: Path, data: bytes) -> Inspection:
    """The inspection, in which nothing but the file keeps the decoder busy, so that a deadline means something."""
    path = written(directory, data)
    if not images.idle:
        await images.prove()
    before = images.idle
    started = time.monotonic()
    found = await images.inspect(path)
    assert images.idle == before, "nobody died of it"
    assert time.monotonic() - started < 10, "an answer within seconds, also on a machine that has much else to do"
    return found


Made = Callable[[], bytes]
"""Makes the file once its test runs: each process that runs tests collects all of them."""

BOMBS: Mapping[str, Made] = {
    "webp of 2^24 px squared": partial(webp_claiming, 1 << 24, 1 << 24),
    "webp of 2^16 px squared": partial(webp_claiming, 1 << 16, 1 << 16),
    "webp of one long side": partial(webp_claiming, 1 << 24, 100),
    "png of 2^31 px squared": partial(png_claiming, (1 << 31) - 1, (1 << 31) - 1),
    "jpeg of 40,000 scans": partial(many_scans, 40_000),
    "jpeg of 101 scans more": partial(many_scans, 101),
    "png of a million chunks": partial(many_chunks, 1_000_000),
    "png of 50,000 chunks that nobody knows": partial(many_chunks, 50_000, b"teSt"),
    "png of 50,000 texts": partial(many_chunks, 50_000, b"tEXt"),
    "png with 100 MB of zTXt": partial(swelling_text, 100 << 20),
    "png with 100 MB of iTXt": partial(swelling_text, 100 << 20, b"iTXt"),
    "png with 100 MB of iCCP": partial(swelling_text, 100 << 20, b"iCCP"),
    "png of Apple's": apple_png,
}


@pytest.mark.parametrize("made", BOMBS.values(), ids=BOMBS)
async def test_what_is_made_to_do_harm_is_unfit_at_once(images: PillowImages, tmp_path: Path, made: Made) -> None:
    found = await judged(images, tmp_path, made())

    assert isinstance(found, Invalid)
    assert found.fault.message.isprintable()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (apple_png, "CgBI"),
        (partial(swelling_text, 100 << 20), "packed text"),
        (partial(many_scans, 40_000), "scans"),
        (partial(many_chunks, 1_000_000), "chunks"),
        (partial(webp_claiming, 1 << 24, 1 << 24), "16777216×16777216 px"),
    ],
)
async def test_it_is_said_as_what_it_is(images: PillowImages, tmp_path: Path, made: Made, words: str) -> None:
    found = await judged(images, tmp_path, made())

    assert isinstance(found, Invalid)
    assert words in found.fault.message


ODD: Mapping[str, Made] = {
    **{
        f"png with a wrong sum in {kind.decode()}": partial(with_chunk, an_image("png"), kind, body, harmed=True)
        for kind, body in (
            (b"pHYs", bytes(9)),
            (b"iCCP", b"p\0\0nonsense"),
            (b"tEXt", b"Author\0me"),
            (b"zTXt", b"Author\0\0nonsense"),
            (b"iTXt", b"Author\0\1\0\0\0nonsense"),
            (b"gAMA", b"\0\0\xb1\x8f"),
            (b"tRNS", bytes(6)),
            (b"eXIf", b"II*\0"),
            (b"teSt", b""),
        )
    },
    "png with a text that cannot be unpacked": partial(with_chunk, an_image("png"), b"zTXt", b"Comment\0\0nonsense"),
    "png with a header of a text that is too short": partial(with_chunk, an_image("png"), b"pHYs", b""),
    "png with 20 MB of text": partial(swelling_text, 20 << 20),
    "webp whose EXIF ends in 2 KB of zeros": partial(webp_with_exif, 2048),
    "webp whose EXIF ends in 60 KB of zeros": partial(webp_with_exif, 60_000),
    "webp with 4 KB of zeros behind its last chunk": partial(webp_with_exif, 0, beside=4096),
    "jpeg of 20 scans more": partial(many_scans, 20),
    "png of 1,000 chunks": partial(many_chunks, 1000),
}


@pytest.mark.parametrize("made", ODD.values(), ids=ODD)
async def test_what_every_viewer_shows_is_whole(images: PillowImages, tmp_path: Path, made: Made) -> None:
    assert isinstance(await images.inspect(written(tmp_path, made())), Valid)
    assert isinstance(await images.inspect_result(tmp_path / "image"), Valid)
    assert (await images.thumbnail(tmp_path / "image", 50)).of.width


@pytest.mark.parametrize("kind", [b"IDAT", b"IHDR", b"IEND"])
async def test_a_wrong_sum_in_a_chunk_that_is_needed_is_damage(
    images: PillowImages, tmp_path: Path, kind: bytes
) -> None:
    data = bytearray(an_image("png"))
    at = data.index(kind)
    data[at + 4 + int.from_bytes(data[at - 4 : at])] ^= 1

    assert isinstance(await images.inspect(written(tmp_path, bytes(data))), Incomplete)


class TestSeveralImages:
    async def test_the_first_is_judged_and_is_what_is_sent(self, images: PillowImages, tmp_path: Path) -> None:
        data, first = several_images(300, 200)
        with Image.open(io.BytesIO(data)) as seen:
            assert seen.format == "MPO", "other readers see several images too"
        path = written(tmp_path, data)

        assert await images.inspect(path) == Valid(
            format=ImageFormat.JPEG, size=Size(300, 200), orientation=1, several=True
        )
        prepared = await images.prepare(path, tmp_path / "first")
        assert prepared == Prepared(format=ImageFormat.JPEG, size=Size(300, 200), exact=True)
        assert (tmp_path / "first").read_bytes() == first
        assert sorted(os.listdir(tmp_path)) == ["first", "image"]

    async def test_a_turned_one_is_turned_alone(self, images: PillowImages, tmp_path: Path) -> None:
        path = written(tmp_path, several_images(300, 200, orientation=6)[0])
        await images.prepare(path, tmp_path / "upright")

        assert await images.inspect(tmp_path / "upright") == Valid(
            format=ImageFormat.JPEG, size=Size(300, 200), orientation=1
        )
        with Image.open(tmp_path / "upright") as upright:
            assert upright.format == "JPEG"
            pixel = upright.convert("RGB").getpixel((3, 3))
        assert isinstance(pixel, tuple)
        assert max(abs(one - other) for one, other in zip(pixel, CORNERS[0], strict=True)) < 30

    @pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
    async def test_one_whose_first_is_cut_off_is_unfinished(
        self, images: PillowImages, tmp_path: Path, cut: float
    ) -> None:
        data, first = several_images()
        assert isinstance(await images.inspect(written(tmp_path, data[: int(len(first) * cut)])), Incomplete)


class TestWalls:
    async def test_both_stand_where_the_kernel_has_them(self, images: PillowImages) -> None:
        assert (await images.prove()).walls == (Wall.LANDLOCK, Wall.SECCOMP)

    @pytest.mark.parametrize(
        "what", ["open", "list", "make", "remove", "network", "local", "start", "fork", "kill", "limit"]
    )
    async def test_a_decoder_reaches_nothing_but_the_file_it_was_given(self, tmp_path: Path, what: str) -> None:
        secret = written(tmp_path, b"a token", "secret")
        path = written(tmp_path, f"{what}\n{tmp_path if what == 'list' else secret}\n".encode())
        async with PillowImages(program=("-c", TRYING)) as images:
            with pytest.raises(Later, match=r"refused: \d+"):
                await images.inspect(path)
        assert sorted(os.listdir(tmp_path)) == ["image", "secret"]


class TestStarting:
    async def test_it_says_which_formats_its_libraries_decode(self, images: PillowImages) -> None:
        assert (await images.prove()).formats == tuple(ImageFormat)

    @pytest.mark.parametrize("made", ["nothing", "no program", "another program", "a broken one"])
    async def test_a_decoder_that_cannot_be_started_is_said_and_no_file_is_blamed(
        self, tmp_path: Path, made: str
    ) -> None:
        python = tmp_path / "python"
        if made != "nothing":
            python.write_text("#!/bin/sh\nexit 3\n" if made == "another program" else "")
            python.chmod(0o644 if made == "no program" else 0o755)
        async with PillowImages(python=str(python)) as images:
            for _ in range(4):
                with pytest.raises(DecoderAway, match=r"python\) (cannot be started|does not start)"):
                    await images.inspect(written(tmp_path, an_image()))
            with pytest.raises(DecoderAway):
                await images.prove()

    async def test_it_goes_on_once_it_can_be_started(self, tmp_path: Path) -> None:
        python = tmp_path / "python"
        async with PillowImages(python=str(python)) as images:
            with pytest.raises(DecoderAway):
                await images.inspect(written(tmp_path, an_image()))
            python.symlink_to("/usr/bin/python3")
            python.unlink()
            python.write_text(f'#!/bin/sh\nexec "{os.path.realpath("/proc/self/exe")}" "$@"\n')
            python.chmod(0o755)
            assert isinstance(await images.inspect(written(tmp_path, an_image())), Valid)


async def test_three_hundred_bombs_beside_good_ones_hold_up_nobody(images: PillowImages, tmp_path: Path) -> None:
    bombs = [written(tmp_path, webp_claiming(1 << 24, 1 << 24), f"bomb {number}") for number in range(300)]
    good = [written(tmp_path, an_image("png", seed=number), f"good {number}") for number in range(10)]
    found = await asyncio.gather(*(images.inspect(path) for path in (*bombs, *good)))

    assert all(isinstance(one, Invalid) and one.fault.code is FaultCode.TOO_LARGE for one in found[:300])
    assert all(isinstance(one, Valid) for one in found[300:])


async def test_what_a_thumbnail_is_refused_for_is_a_fault(images: PillowImages, tmp_path: Path) -> None:
    with pytest.raises(FileFault):
        await images.thumbnail(written(tmp_path, webp_claiming(1 << 24, 1 << 24)), 100)
