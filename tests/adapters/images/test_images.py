"""Proves what is seen inside images, and that no file harms the daemon that looks."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from expandd.adapters.images.decoder_process import SPARE, Share
from expandd.adapters.images.decoders import PillowImages
from expandd.domain.errors import Fault, FaultCode, FileFault, InspectionTooLong, Later, ReaderDied
from expandd.domain.image import ImageFormat, Incomplete, Inspection, Invalid, Size, Valid
from tests.support.examples import EVERY_DAY, MORE, examples
from tests.support.images import (
    CORNERS,
    an_image,
    animated,
    chunk,
    drawing,
    encoded,
    lossless_jpeg,
    png_claiming,
)
from tests.support.odd_images import (
    apple_png,
    many_scans,
    several_images,
    swelling_text,
    webp_claiming,
    webp_with_exif,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

FORMATS = ("jpeg", "png", "webp")

# A child that does what the file says, and else what a real one does.
HARMFUL = """
import os, pathlib, signal, sys
from expandd.adapters.images import decoder_program as real

def carry_out(request, files):
    path = os.readlink(f"/proc/self/fd/{files[0]}")
    said = os.pread(files[0], 40, 0)
    if said.startswith(b"abort"):
        os.abort()
    if said.startswith(b"signal "):
        os.kill(os.getpid(), int(said.split()[1]))
    if said.startswith(b"exit"):
        sys.exit(3)
    if said.startswith(b"hang"):
        open(path + ".hanging", "wb").close()
        signal.pause()
    if said.startswith(b"spin"):
        while True:
            pass
    if said.startswith(b"swell"):
        bytearray(2 << 30)
    if said.startswith(b"noise"):
        os.write(1, b"a library prints\\n")
    if said.startswith(b"once") and not os.path.exists(path + ".once"):
        open(path + ".once", "wb").close()
        os.abort()
    return real.carry_out(request, files)

allow_time = real._allow_time
real._allow_time = lambda seconds: allow_time(1)
real.load()
real.confine()
real.serve(carry_out)
"""

# A child that is ready, and answers with what stands in place of ANSWER.
ANSWERING = """
import os, sys
print('{"is":"ready","walls":[],"formats":[]}', flush=True)
sys.stdin.readline()
print(ANSWER)
"""


@pytest_asyncio.fixture(loop_scope="module")
async def own() -> AsyncIterator[PillowImages]:
    """Decoders that no other test has asked."""
    async with PillowImages() as pillow:
        yield pillow


def tell_once(descriptor: int, call: Callable[[], object]) -> None:
    """Call it as soon as somebody has written to the pipe, or closed it again; then it is closed here too."""
    loop = asyncio.get_running_loop()

    def told() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        call()

    loop.add_reader(descriptor, told)


@pytest_asyncio.fixture(loop_scope="module")
async def harmful() -> AsyncIterator[PillowImages]:
    async with PillowImages(program=("-c", HARMFUL)) as pillow:
        yield pillow


def written(directory: Path, data: bytes, name: str = "image") -> Path:
    path = directory / name
    path.write_bytes(data)
    return path


def fault(found: Inspection) -> Fault:
    assert isinstance(found, Invalid | Incomplete), found
    return found.fault


async def at_rest(images: PillowImages) -> tuple[int, ...]:
    """The children at rest, once there is one."""
    for _ in range(20_000):
        if images.idle:
            break
        await asyncio.sleep(0.001)
    return images.idle


async def gone(pid: int) -> None:
    """Return when the process `pid` has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), 20)
    finally:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


class TestWholeImages:
    @pytest.mark.parametrize("name", FORMATS)
    async def test_a_whole_image_of_each_format_is_whole(self, images: PillowImages, tmp_path: Path, name: str) -> None:
        found = await images.inspect(written(tmp_path, an_image(name, 300, 200)))
        assert found == Valid(format=ImageFormat(name), size=Size(300, 200), orientation=1)

    @pytest.mark.parametrize("name", FORMATS)
    async def test_the_size_is_as_a_person_sees_it_for_all_eight_orientations(
        self, images: PillowImages, tmp_path: Path, name: str
    ) -> None:
        for orientation in range(1, 9):
            path = written(tmp_path, an_image(name, 96, 80, orientation=orientation))
            tagged = orientation != 1
            whole = Valid(format=ImageFormat(name), size=Size(96, 80), orientation=orientation, metadata=tagged)
            assert await images.inspect(path) == whole
            assert await images.inspect_result(path) == whole

    @pytest.mark.parametrize(
        ("name", "mode"),
        [
            ("jpeg", "L"),
            ("jpeg", "CMYK"),
            ("png", "1"),
            ("png", "L"),
            ("png", "LA"),
            ("png", "P"),
            ("png", "RGBA"),
            ("png", "I;16"),
            ("webp", "RGBA"),
        ],
    )
    async def test_every_kind_of_pixel_is_accepted_and_can_be_turned(
        self, images: PillowImages, tmp_path: Path, name: str, mode: str
    ) -> None:
        path = written(tmp_path, an_image(name, mode=mode, orientation=6))
        assert isinstance(await images.inspect(path), Valid)
        await images.prepare(path, tmp_path / "upright")
        with Image.open(tmp_path / "upright") as upright:
            assert upright.size == (96, 80)

    async def test_sixteen_bits_per_colour_are_accepted(self, images: PillowImages, tmp_path: Path) -> None:
        data = _png_of_sixteen_bits(70, 65)
        assert isinstance(await images.inspect(written(tmp_path, data)), Valid)

    @pytest.mark.parametrize("save", [{"progressive": True}, {"quality": 100, "subsampling": 0}])
    async def test_progressive_and_fine_jpegs_are_whole(
        self, images: PillowImages, tmp_path: Path, save: dict[str, Any]
    ) -> None:
        assert isinstance(await images.inspect(written(tmp_path, an_image("jpeg", **save))), Valid)

    @pytest.mark.parametrize("name", ["png", "webp"])
    async def test_an_animated_image_counts_as_its_first_frame(
        self, images: PillowImages, tmp_path: Path, name: str
    ) -> None:
        found = await images.inspect(written(tmp_path, animated(name)))
        assert found == Valid(format=ImageFormat(name), size=Size(96, 80), orientation=1)

    async def test_a_lossless_jpeg_is_whole(self, images: PillowImages, tmp_path: Path) -> None:
        found = await images.inspect(written(tmp_path, lossless_jpeg()))

        assert found == Valid(format=ImageFormat.JPEG, size=Size(64, 64), orientation=1)

    async def test_a_camera_file_of_several_images_counts_as_jpeg(self, images: PillowImages, tmp_path: Path) -> None:
        data = encoded(drawing(200, 100), "mpo", save_all=True, append_images=[drawing(80, 70)])
        found = await images.inspect(written(tmp_path, data))
        assert found == Valid(format=ImageFormat.JPEG, size=Size(200, 100), orientation=1, several=True)

    @pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff"])
    async def test_exif_that_cannot_be_read_is_no_fault_of_the_image(
        self, images: PillowImages, tmp_path: Path, exif: bytes
    ) -> None:
        found = await images.inspect(written(tmp_path, an_image("jpeg", exif=exif)))
        assert found == Valid(format=ImageFormat.JPEG, size=Size(96, 80), orientation=1)

    @pytest.mark.parametrize("value", [0, 9, 65535])
    async def test_an_orientation_that_does_not_exist_is_none(
        self, images: PillowImages, tmp_path: Path, value: int
    ) -> None:
        exif = Image.Exif()
        exif[0x0112] = value
        found = await images.inspect(written(tmp_path, an_image("jpeg", exif=exif.tobytes())))
        assert isinstance(found, Valid)
        assert found.orientation == 1


class TestSizes:
    @pytest.mark.parametrize(("width", "height"), [(64, 64), (64, 4096), (4096, 64)])
    @pytest.mark.parametrize("name", FORMATS)
    async def test_the_limits_themselves_are_within(
        self, images: PillowImages, tmp_path: Path, name: str, width: int, height: int
    ) -> None:
        found = await images.inspect(written(tmp_path, an_image(name, width, height)))
        assert isinstance(found, Valid)

    async def test_a_result_may_have_any_size(self, images: PillowImages, tmp_path: Path) -> None:
        for size in ((1, 1), (5000, 64)):
            found = await images.inspect_result(written(tmp_path, an_image("png", *size)))
            assert found == Valid(format=ImageFormat.PNG, size=Size(*size), orientation=1)

    async def test_a_bomb_is_refused_before_it_is_decoded(self, images: PillowImages, tmp_path: Path) -> None:
        found = await images.inspect(written(tmp_path, png_claiming(60_000, 60_000)))
        assert isinstance(found, Invalid)
        assert found.fault.code is FaultCode.TOO_LARGE

    async def test_a_result_too_large_to_decode_here_is_judged_by_its_end(self, tmp_path: Path) -> None:
        path = written(tmp_path, an_image("png", 200, 100))
        async with PillowImages(most_pixels=200 * 100 - 1) as images:
            assert isinstance(await images.inspect_result(path), Valid)
            path.write_bytes(path.read_bytes()[:-1])
            assert isinstance(await images.inspect_result(path), Incomplete)

    async def test_a_file_of_gigabytes_is_not_read(self, images: PillowImages, tmp_path: Path) -> None:
        path = written(tmp_path, an_image("jpeg"))
        os.truncate(path, (1 << 30) + 1)
        found = await images.inspect(path)
        assert isinstance(found, Invalid)
        assert found.fault.code is FaultCode.TOO_LARGE


class TestUnfinished:
    @pytest.mark.parametrize("name", FORMATS)
    async def test_an_image_cut_anywhere_is_unfinished(self, images: PillowImages, tmp_path: Path, name: str) -> None:
        data = an_image(name, 200, 150)
        for cut in {0, 1, 5, 11, 30, *range(40, len(data), len(data) // 40), len(data) - 1}:
            path = written(tmp_path, data[:cut])
            assert isinstance(await images.inspect(path), Incomplete)
            assert isinstance(await images.inspect_result(path), Incomplete)
            # A WEBP may end in some zeros, so only a tail of more than a kilobyte tells.
            if name != "webp" or cut < len(data) - 1100:
                path.write_bytes(data[:cut].ljust(len(data) + 8192, b"\0"))
                assert isinstance(await images.inspect(path), Incomplete)

    async def test_a_png_whose_rows_do_not_come_to_an_end_is_damaged(
        self, images: PillowImages, tmp_path: Path
    ) -> None:
        found = await images.inspect(written(tmp_path, png_claiming(100, 100)))
        assert isinstance(found, Incomplete)
        assert found.fault.code is FaultCode.NOT_WHOLE
        assert found.fault.message.startswith("The file is damaged: its PNG image cannot be decoded")

    async def test_another_type_is_unfit_at_once(self, images: PillowImages, tmp_path: Path) -> None:
        found = await images.inspect(written(tmp_path, an_image("pdf"), "image.jpg"))
        assert isinstance(found, Invalid)
        assert found.fault.code is FaultCode.UNSUPPORTED_TYPE

    async def test_a_file_that_we_may_not_read_is_unfit_at_once_and_it_is_said_why(self, tmp_path: Path) -> None:
        def denied(path: Path) -> int:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        path = written(tmp_path, an_image())
        path.chmod(0o600)
        async with PillowImages(open_file=denied) as images:
            found = await images.inspect(path)
            with pytest.raises(FileFault, match="permission denied"):
                await images.prepare(path, tmp_path / "upright")
            with pytest.raises(Later, match="permission denied"):
                await images.inspect_result(path)
        assert isinstance(found, Invalid)
        assert found.fault.code is FaultCode.UNREADABLE
        assert "its mode is 0600" in found.fault.message
        assert f"user id {os.geteuid()}" in found.fault.message


class TestNotFiles:
    async def test_a_symlink_is_not_followed(self, images: PillowImages, tmp_path: Path) -> None:
        (tmp_path / "link.jpg").symlink_to(written(tmp_path, an_image()))
        with pytest.raises(Later, match="symbolic link"):
            await images.inspect(tmp_path / "link.jpg")
        with pytest.raises(Later, match="symbolic link"):
            await images.prepare(tmp_path / "link.jpg", tmp_path / "upright")

    async def test_a_fifo_is_not_waited_for(self, images: PillowImages, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo.jpg")
        with pytest.raises(Later, match="not a regular file"):
            await images.inspect(tmp_path / "fifo.jpg")

    async def test_a_directory_a_device_and_nothing_are_for_later(self, images: PillowImages, tmp_path: Path) -> None:
        for path in (tmp_path, Path("/dev/zero"), tmp_path / "nothing"):
            with pytest.raises(Later):
                await images.inspect(path)
            with pytest.raises(Later):
                await images.inspect_result(path)

    async def test_any_name_that_the_disk_takes_can_be_inspected(self, images: PillowImages, tmp_path: Path) -> None:
        for name in ("ü 写真.jpg", "line\nbreak.jpg", os.fsdecode(b"latin-\xe9.jpg")):
            assert isinstance(await images.inspect(written(tmp_path, an_image(), name)), Valid)


class TestUpright:
    @pytest.mark.parametrize("name", FORMATS)
    async def test_the_pixels_are_as_a_person_sees_them_and_the_tag_is_gone(
        self, images: PillowImages, tmp_path: Path, name: str
    ) -> None:
        for orientation in range(1, 9):
            source = written(tmp_path, an_image(name, 120, 80, orientation=orientation))
            before = source.read_bytes()
            await images.prepare(source, tmp_path / "upright")
            found = await images.inspect(tmp_path / "upright")
            assert found == Valid(format=ImageFormat(name), size=Size(120, 80), orientation=1)
            assert _corners(tmp_path / "upright") == CORNERS
            assert source.read_bytes() == before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["image", "upright"]

    async def test_png_and_webp_lose_nothing(self, images: PillowImages, tmp_path: Path) -> None:
        for name in ("png", "webp"):
            data = an_image(name, 90, 70, mode="RGBA", orientation=6, lossless=True)
            await images.prepare(written(tmp_path, data), tmp_path / "upright")
            with Image.open(tmp_path / "upright") as upright:
                assert upright.convert("RGB").tobytes() == drawing(90, 70).tobytes()

    async def test_an_earlier_copy_is_replaced(self, images: PillowImages, tmp_path: Path) -> None:
        target = written(tmp_path, b"an earlier try", "upright")
        await images.prepare(written(tmp_path, an_image(orientation=3)), target)
        assert isinstance(await images.inspect(target), Valid)

    async def test_a_source_that_cannot_be_used_is_a_fault_and_leaves_nothing(
        self, images: PillowImages, tmp_path: Path
    ) -> None:
        for data in (b"text", an_image()[:-2], png_claiming(100, 100)):
            with pytest.raises(FileFault):
                await images.prepare(written(tmp_path, data), tmp_path / "upright")
        assert [path.name for path in tmp_path.iterdir()] == ["image"]

    async def test_a_target_that_cannot_be_written_is_for_later(self, images: PillowImages, tmp_path: Path) -> None:
        with pytest.raises(Later, match="No such file or directory"):
            await images.prepare(written(tmp_path, an_image()), tmp_path / "nowhere" / "upright")


class TestChildren:
    @pytest.mark.parametrize("harm", ["abort", f"signal {signal.SIGSEGV}"])
    async def test_a_file_that_crashes_its_decoder_is_unfit_and_the_next_one_works(
        self, harmful: PillowImages, tmp_path: Path, harm: str
    ) -> None:
        found = await harmful.inspect(written(tmp_path, harm.encode(), "harm"))
        assert isinstance(found, Invalid)
        assert found.fault.code is FaultCode.UNREADABLE
        with pytest.raises(FileFault):
            await harmful.prepare(tmp_path / "harm", tmp_path / "upright")
        assert isinstance(await harmful.inspect(written(tmp_path, an_image())), Valid)

    async def test_a_file_that_takes_a_decoder_for_ever_is_unfit(self, harmful: PillowImages, tmp_path: Path) -> None:
        path = written(tmp_path, b"spin")
        with pytest.raises(InspectionTooLong):
            await harmful.inspect(path, thorough=False)
        found = await harmful.inspect(path)
        assert isinstance(found, Invalid)
        assert found.fault.code is FaultCode.UNREADABLE

    @pytest.mark.parametrize("harm", [f"signal {signal.SIGKILL}", f"signal {signal.SIGBUS}", "exit", "swell"])
    async def test_a_want_of_the_machine_is_not_blamed_on_the_file(
        self, harmful: PillowImages, tmp_path: Path, harm: str
    ) -> None:
        with pytest.raises(ReaderDied):
            await harmful.inspect(written(tmp_path, harm.encode(), "harm"))
        assert isinstance(await harmful.inspect(written(tmp_path, an_image())), Valid)

    async def test_a_crash_that_does_not_come_again_is_not_blamed_on_the_file(
        self, harmful: PillowImages, tmp_path: Path
    ) -> None:
        found = await harmful.inspect(written(tmp_path, b"once"))
        assert fault(found).code is FaultCode.UNSUPPORTED_TYPE

    async def test_a_child_killed_while_it_rests_is_replaced(self, own: PillowImages, tmp_path: Path) -> None:
        path = written(tmp_path, an_image())
        await own.inspect(path)
        (pid,) = own.idle
        os.kill(pid, signal.SIGKILL)
        assert isinstance(await own.inspect(path), Valid)
        assert own.idle != (pid,)

    async def test_what_a_library_prints_does_not_disturb_the_answers(
        self, harmful: PillowImages, tmp_path: Path
    ) -> None:
        found = await harmful.inspect(written(tmp_path, b"noise, then text"))
        assert fault(found).code is FaultCode.UNSUPPORTED_TYPE

    @pytest.mark.parametrize("answer", ["", "{}", "[1]", '{"is":"whole"}', '{"is":"whole","format":"gif"}'])
    async def test_an_answer_that_makes_no_sense_is_blamed_on_the_file(self, tmp_path: Path, answer: str) -> None:
        async with PillowImages(program=("-c", ANSWERING.replace("ANSWER", repr(answer)))) as images:
            found = await images.inspect(written(tmp_path, an_image()))
        assert isinstance(found, Invalid)

    async def test_a_decoder_that_hangs_is_killed_in_the_end(self, tmp_path: Path) -> None:
        async with PillowImages(program=("-c", HARMFUL), timeout=0.5) as harmful:
            with pytest.raises(ReaderDied, match=r"not decoded within 0\.5 s"):
                await harmful.inspect(written(tmp_path, b"hang"))
            assert harmful.idle == ()

    async def test_files_of_one_mount_that_hang_leave_decoders_to_others(self, tmp_path: Path) -> None:
        for mount in ("share", "disk"):
            (tmp_path / mount).mkdir()
        hang = [written(tmp_path / "share", b"hang", f"{number}") for number in range(6)]
        good = written(tmp_path / "disk", an_image())
        begun = asyncio.Semaphore(0)
        for path in hang:
            os.mkfifo(f"{path}.hanging")
            tell_once(os.open(f"{path}.hanging", os.O_RDONLY | os.O_NONBLOCK), begun.release)
        async with PillowImages(program=("-c", HARMFUL), processes=4, mount_of=lambda path: path.parent.name) as images:
            looks = [asyncio.create_task(images.inspect(path)) for path in hang]
            for _ in range(4 - SPARE):
                await begun.acquire()
            assert isinstance(await images.inspect(good), Valid)
            assert not any(look.done() for look in looks)
            for look in looks:
                look.cancel()
            await asyncio.wait(looks)

    async def test_a_process_that_its_disk_holds_keeps_its_place_until_it_ends(self) -> None:
        share, over = Share(1, patience=0.05), asyncio.Event()

        async def end() -> None:
            await over.wait()

        async with share.place() as ends:
            ends.add(asyncio.create_task(end()))
        with pytest.raises(Later, match="its disk does not answer"):
            async with share.place():
                pass
        over.set()
        async with share.place():
            pass

    async def test_a_cancelled_question_ends_its_child_and_the_next_is_answered(
        self, harmful: PillowImages, tmp_path: Path
    ) -> None:
        os.mkfifo(tmp_path / "harm.hanging")
        task = asyncio.create_task(harmful.inspect(written(tmp_path, b"hang", "harm")))
        await asyncio.to_thread((tmp_path / "harm.hanging").read_bytes)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        found = await harmful.inspect(written(tmp_path, an_image(seed=1)))
        assert isinstance(found, Valid)

    async def test_no_child_runs_before_the_first_image_nor_after_close(self, tmp_path: Path) -> None:
        images = PillowImages()
        assert not images.idle
        await images.inspect(written(tmp_path, an_image()))
        (pid,) = images.idle
        await images.close()
        await gone(pid)
        assert not images.idle

    async def test_a_child_that_is_expected_to_be_needed_is_ready_and_used(
        self, own: PillowImages, tmp_path: Path
    ) -> None:
        own.warm_up()
        own.warm_up()
        ready = await at_rest(own)
        own.warm_up()
        await own.inspect(written(tmp_path, an_image()))
        assert own.idle == ready
        assert len(ready) == 1

    async def test_an_image_waits_for_the_child_that_is_being_started(self, own: PillowImages, tmp_path: Path) -> None:
        own.warm_up()
        await own.inspect(written(tmp_path, an_image()))
        assert len(own.idle) == 1

    async def test_a_child_that_was_expected_for_nothing_ends_as_well(self) -> None:
        images = PillowImages()
        images.warm_up()
        await images.close()
        assert images.idle == ()
        async with PillowImages(idle=0.01) as impatient:
            impatient.warm_up()
            for pid in await at_rest(impatient):
                await gone(pid)
            assert impatient.idle == ()

    async def test_an_idle_child_ends_and_the_next_image_starts_another(self, tmp_path: Path) -> None:
        async with PillowImages(idle=0.01) as images:
            path = written(tmp_path, an_image())
            await images.inspect(path)
            for pid in images.idle:
                await gone(pid)
            assert not images.idle
            assert isinstance(await images.inspect(path), Valid)

    async def test_many_at_once_share_a_few_children(self, tmp_path: Path) -> None:
        async with PillowImages(processes=2 + SPARE) as images:
            paths = [written(tmp_path, an_image(seed=seed, width=64 + seed), f"{seed}") for seed in range(30)]
            found = await asyncio.gather(*(images.inspect(path) for path in paths))
            assert [whole.size.width for whole in found if isinstance(whole, Valid)] == list(range(64, 94))
            assert 1 <= len(images.idle) <= 2

    async def test_a_child_at_work_is_waited_for_before_another_is_started(self, tmp_path: Path) -> None:
        paths = [written(tmp_path, an_image(seed=seed), f"{seed}") for seed in range(4)]
        async with PillowImages(worth=60.0) as images:
            found = await asyncio.gather(*(images.inspect(path) for path in paths))
            assert all(isinstance(each, Valid) for each in found)
            assert len(images.idle) == 1

    async def test_who_waits_in_vain_for_a_child_at_work_starts_another(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "harm.hanging")
        async with PillowImages(program=("-c", HARMFUL)) as images:
            hanging = asyncio.create_task(images.inspect(written(tmp_path, b"hang", "harm")))
            await asyncio.to_thread((tmp_path / "harm.hanging").read_bytes)
            assert isinstance(await images.inspect(written(tmp_path, an_image())), Valid)
            assert not hanging.done()
            hanging.cancel()
            await asyncio.wait({hanging})

    async def test_a_child_ignores_the_signals_that_stop_its_daemon(self, own: PillowImages, tmp_path: Path) -> None:
        path = written(tmp_path, an_image())
        await own.inspect(path)
        before = own.idle
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(before[0], number)
            await own.inspect(path)
        assert own.idle == before

    async def test_a_child_sees_no_secret_of_its_daemon(self, tmp_path: Path) -> None:
        spy = ANSWERING.replace("ANSWER", """'{"is":"not now","reason":"%s"}' % sorted(os.environ)""")
        async with PillowImages(program=("-c", spy)) as images:
            with pytest.raises(Later) as caught:
                await images.inspect(written(tmp_path, b"anything"))
        names = {"LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH"}
        assert set(str(caught.value).strip("[]").replace("'", "").split(", ")) <= names

    async def test_a_child_dies_with_its_daemon(self, tmp_path: Path) -> None:
        path = written(tmp_path, an_image())
        daemon = (
            "import asyncio, sys, pathlib, time\n"
            "from expandd.adapters.images.decoders import PillowImages\n"
            "async def main():\n"
            "    images = PillowImages()\n"
            f"    await images.inspect(pathlib.Path({str(path)!r}))\n"
            "    print(*images.idle, flush=True)\n"
            "    await asyncio.Event().wait()\n"
            "asyncio.run(main())\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", daemon, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": ":".join(sys.path)}
        )
        assert process.stdout is not None
        pid = int(await process.stdout.readline())
        process.kill()
        await process.wait()
        await gone(pid)


GOOD = [an_image(name, orientation=3) for name in (*FORMATS, "tiff", "avif")] + [
    *(an_image(name) for name in ("bmp", "gif", "jpeg2000")),
    an_image("tiff", compression="tiff_lzw"),
    an_image("tiff", compression="tiff_deflate", mode="CMYK"),
    an_image("tiff", compression="jpeg"),
    animated("gif"),
    an_image("jpeg", progressive=True),
    an_image("png", mode="P"),
    an_image("webp", mode="RGBA", lossless=True),
    animated("png"),
    animated("webp"),
    several_images(96, 80)[0],
    many_scans(3, 64, 64),
    swelling_text(1000),
    webp_with_exif(2048),
    webp_claiming(1 << 24, 1 << 24),
    apple_png(),
]


@settings(max_examples=examples(MORE), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(GOOD), st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=8))
async def test_no_damage_makes_anything_but_a_finding(
    images: PillowImages,
    tmp_path: Path,
    data: bytes,
    damage: list[tuple[float, bytes]],
) -> None:
    damaged = bytearray(data)
    for place, new in damage:
        at = int(place * len(data))
        damaged[at : at + len(new)] = new
    path = written(tmp_path, bytes(damaged))
    before = images.idle
    assert isinstance(await images.inspect(path), Valid | Incomplete | Invalid)
    assert isinstance(await images.inspect_result(path), Valid | Incomplete | Invalid)
    assert not before or images.idle == before, "a child has died"


@settings(max_examples=examples(EVERY_DAY), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBP"]), st.binary(max_size=300))
async def test_any_bytes_get_a_finding(images: PillowImages, tmp_path: Path, start: bytes, rest: bytes) -> None:
    found = await images.inspect(written(tmp_path, start + rest))
    assert isinstance(found, Incomplete | Invalid)


def _corners(path: Path) -> tuple[tuple[int, int, int], ...]:
    """The colours of CORNERS that lie nearest to the image's corners, in the same order."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    seen = [image.getpixel((x, y)) for y in (2, height - 3) for x in (2, width - 3)]
    return tuple(min(CORNERS, key=lambda corner: _distance(corner, colour)) for colour in seen)


def _distance(one: tuple[int, int, int], other: Any) -> int:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def _png_of_sixteen_bits(width: int, height: int) -> bytes:
    rows = b"".join(b"\0" + bytes(range(6)) * width for _ in range(height))
    header = png_claiming(width, height, depth=16)[:33]
    return header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
