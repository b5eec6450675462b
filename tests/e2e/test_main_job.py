"""The main job, with real processes, over real HTTP, on real files."""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path

from PIL import Image

from expandd.simulator.server import Simulator
from expandd.simulator.switches import ResultType
from tests.support.daemon import House, installed, names
from tests.support.images import CORNERS, an_image


def test_images_dropped_into_a_folder_come_out_expanded(house: House, server: Simulator) -> None:
    hot = house.folder()
    dropped = {f"pic.{kind}": an_image(kind, 120, 80) for kind in ("jpeg", "png", "webp")}
    with house.running(installed(house)) as daemon:
        for name, content in dropped.items():
            (hot / "inbox" / name).write_bytes(content)
        daemon.finished(times=3)
        assert daemon.stop() == 0

    assert names(hot / "outbox") == ["pic.jpg", "pic.png", "pic.webp"]
    assert {size_of(hot / "outbox" / name) for name in names(hot / "outbox")} == {(150, 90)}
    assert {name: (hot / "done" / name).read_bytes() for name in names(hot / "done")} == dropped
    assert names(hot / "inbox") == names(hot / "error") == []
    assert_good_client(server, images=3)


def test_once_answers_everything_and_says_how_it_went(house: House, server: Simulator) -> None:
    hot = house.folder()
    (hot / "inbox" / "good.png").write_bytes(an_image("png"))
    (hot / "inbox" / "notes.txt").write_text("not an image")
    (hot / "inbox" / "half.jpg").write_bytes(an_image("jpeg")[:600])
    (hot / "inbox" / "empty.webp").touch()
    (hot / "inbox" / ".hidden.png").write_bytes(an_image("png"))
    (hot / "inbox" / "album").mkdir()
    (hot / "inbox" / "album" / "deep.png").write_bytes(an_image("png"))
    outcome = house.call("once")

    assert outcome.returncode == 3, outcome.stderr
    assert names(hot / "outbox") == names(hot / "done") == ["good.png"]
    assert names(hot / "error") == ["empty.webp", "half.jpg", "notes.txt"]
    assert names(hot / "inbox") == [".hidden.png", "album"]
    assert "a folder with 1 file in the inbox (album)" in outcome.stderr
    for name in names(hot / "error"):
        sidecar = json.loads((hot / "error" / f"{name}.error.json").read_text(encoding="utf-8"))
        assert sidecar["message"].endswith(".")
        assert sidecar["what_to_do"].endswith(".")
        assert sidecar["paid"] is False
    assert_good_client(server, images=1)


def test_once_ends_with_zero_when_all_went_well_and_when_there_is_nothing(house: House) -> None:
    (house.folder() / "inbox" / "good.png").write_bytes(an_image("png"))

    assert house.call("once").returncode == 0
    assert house.call("once").returncode == 0


def test_once_leaves_files_where_they_are_while_the_api_is_away(house: House, server: Simulator) -> None:
    server.stop()
    (house.folder() / "inbox" / "good.png").write_bytes(an_image("png"))
    outcome = house.call("once", "--patience", "0.5")
    server.start()

    assert outcome.returncode == 4, outcome.stderr
    assert names(house.folder() / "error") == []
    assert house.call("once").returncode == 0
    assert names(house.folder() / "outbox") == ["good.png"]
    assert_good_client(server, images=1)


def test_the_content_decides_not_the_extension(house: House) -> None:
    given = ["a.jpg", "b.png", "c.webp", "d.dat", "e"]
    for number, name in enumerate(given):
        (house.folder() / "inbox" / name).write_bytes(an_image("webp", seed=number))
    outcome = house.call("once")

    assert outcome.returncode == 0, outcome.stderr
    assert names(house.folder() / "outbox") == ["a.webp", "b.webp", "c.webp", "d.webp", "e.webp"]
    assert names(house.folder() / "done") == given


def test_a_result_of_another_type_is_named_by_its_content(house: House, server: Simulator) -> None:
    server.switch(result_type=ResultType.PNG)
    (house.folder() / "inbox" / "pic.jpg").write_bytes(an_image("jpeg"))
    house.call("once")

    assert names(house.folder() / "outbox") == ["pic.png"]


def test_top_means_what_a_person_sees_as_the_top(house: House) -> None:
    house.build(folders={"hot": "offsets: {top: 40}"})
    orientations = range(1, 9)
    for orientation in orientations:
        content = an_image("jpeg", 120, 80, orientation=orientation, quality=95)
        (house.folder() / "inbox" / f"{orientation}.jpg").write_bytes(content)
    outcome = house.call("once")

    assert outcome.returncode == 0, outcome.stderr
    for orientation in orientations:
        assert_upright(house.folder() / "outbox" / f"{orientation}.jpg")


def assert_upright(path: Path) -> None:
    with Image.open(path) as result:
        tag = result.getexif().get(0x0112, 1)
        size = result.size
        corners = [result.getpixel(at) for at in ((5, 45), (115, 45), (5, 115), (115, 115))]

    assert (size, tag) == ((120, 120), 1), path.name
    for seen, expected in zip(corners, CORNERS, strict=True):
        assert isinstance(seen, tuple)
        assert all(abs(one - other) < 40 for one, other in zip(seen, expected, strict=True)), (path.name, corners)


def test_every_name_a_file_system_allows_is_carried_through(house: House) -> None:
    hot = os.fsencode(house.folder())
    odd = [
        b"caf\xe9.png",
        b"-rf.png",
        b"new\nline.png",
        b"\x1b[31mred.png",
        b"x" * 251 + b".png",
        "ü".encode() * 125 + b".png",
    ]
    odd += [b" lead.png", b"tr.ail..png", "日本.png".encode(), b"'quote\".png", b"a;b|c&d$(e).png"]
    for name in odd:
        Path(os.fsdecode(hot + b"/inbox/" + name)).write_bytes(an_image("png"))
    outcome = house.call("once")

    assert outcome.returncode == 0, outcome.stderr
    assert sorted(os.listdir(hot + b"/outbox")) == sorted(odd)
    assert sorted(os.listdir(hot + b"/done")) == sorted(odd)
    for line in outcome.stderr.splitlines()[:-1]:
        json.loads(line)
    assert "\x1b" not in outcome.stderr


def test_the_same_name_three_times_gives_three_results(house: House, server: Simulator) -> None:
    hot = house.folder()
    sources = [an_image("png", seed=number) for number in range(3)]
    with house.running() as daemon:
        for number, content in enumerate(sources):
            (hot / "inbox" / "pic.png").write_bytes(content)
            daemon.wait_for("job.uploaded", times=number + 1)
        daemon.finished(times=3)

    assert names(hot / "outbox") == ["pic-2.png", "pic-3.png", "pic.png"]
    assert sorted((hot / "done" / name).read_bytes() for name in names(hot / "done")) == sorted(sources)
    assert_good_client(server, images=3)


def test_nothing_in_the_outbox_is_ever_overwritten(house: House) -> None:
    (house.folder() / "outbox" / "pic.png").write_text("somebody's own")
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    house.call("once")

    assert (house.folder() / "outbox" / "pic.png").read_text() == "somebody's own"
    assert names(house.folder() / "outbox") == ["pic-2.png", "pic.png"]


def test_originals_are_deleted_only_where_that_is_asked_for(house: House) -> None:
    house.build(folders={"hot": "offsets: {top: 5}, originals: delete"})
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    house.call("once")

    assert names(house.folder() / "outbox") == ["pic.png"]
    assert names(house.folder() / "done") == names(house.folder() / "inbox") == []
    assert os.listdir(house.folder() / "inbox" / ".expandd") == []


def test_subfolders_are_mirrored_when_they_are_worked_on(house: House) -> None:
    house.build(folders={"hot": "offsets: {top: 5}, recursive: true"})
    hot = house.folder()
    with house.running() as daemon:
        (hot / "moved").mkdir()
        (hot / "moved" / "a.png").write_bytes(an_image("png"))
        (hot / "moved").rename(hot / "inbox" / "moved")
        (hot / "inbox" / "made" / "deep").mkdir(parents=True)
        (hot / "inbox" / "made" / "deep" / "b.png").write_bytes(an_image("png", seed=1))
        daemon.finished(times=2)

    assert (hot / "outbox" / "moved" / "a.png").exists()
    assert (hot / "outbox" / "made" / "deep" / "b.png").exists()
    assert (hot / "done" / "moved" / "a.png").exists()


def test_links_and_pipes_are_left_alone(house: House, server: Simulator) -> None:
    hot = house.folder()
    (hot / "secret.png").write_bytes(an_image("png"))
    (hot / "inbox" / "link.png").symlink_to(hot / "secret.png")
    os.mkfifo(hot / "inbox" / "pipe.png")
    (hot / "inbox" / "folder.png").mkdir()
    outcome = house.call("once")

    assert outcome.returncode == 0, outcome.stderr
    assert names(hot / "inbox") == ["folder.png", "link.png", "pipe.png"]
    assert server.counts().calls.get("upload") is None


def test_a_result_of_another_size_is_delivered_and_flagged(house: House, server: Simulator) -> None:
    server.set_fault("link:wrong-size:always")
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    outcome = house.call("once")
    status = json.loads(house.call("status", "--json").stdout)
    last = json.loads(next(line for line in outcome.stderr.splitlines() if "job.finished" in line))

    assert outcome.returncode == 0, outcome.stderr
    assert names(house.folder() / "outbox") == ["pic.png"]
    assert last["size_differs"] is True
    assert [job["file"] for job in status["size_differs"]] == ["pic.png"]


def test_presets_of_every_kind_reach_the_api_as_whole_pixels(house: House) -> None:
    kinds = {
        "px": ("offsets: {top: 10, right: -6}", (114, 90)),
        "percent": ("offsets: {left: 12.5%, bottom: -10%}", (135, 72)),
        "aspect": ('offsets: {aspect: "1:1"}', (120, 120)),
        "canvas": ("offsets: {width: 200, height: 60, anchor: left}", (200, 60)),
    }
    house.build(folders={name: keys for name, (keys, _) in kinds.items()})
    for name in kinds:
        (house.folder(name) / "inbox" / "pic.png").write_bytes(an_image("png", 120, 80))
    outcome = house.call("once")

    assert outcome.returncode == 0, outcome.stderr
    for name, (_, size) in kinds.items():
        assert size_of(house.folder(name) / "outbox" / "pic.png") == size, name


def test_the_log_has_one_line_that_tells_all_and_no_secret(house: House) -> None:
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png", 120, 80))
    outcome = house.call("once", "--verbose")
    line = json.loads(next(line for line in outcome.stderr.splitlines() if "job.finished" in line))

    assert line["offsets"] == {"top": 10, "bottom": 0, "left": 30, "right": 0}
    assert (line["source_size"], line["result_size"]) == ("120×80", "150×90")
    assert line["paid"] is True
    assert {"job", "file", "inbox", "preset", "image_id", "tries", "uploads", "total_seconds"} <= line.keys()
    tokens = json.loads((house.state_dir / "tokens.json").read_text())
    secrets = [value for value in tokens.values() if isinstance(value, str) and len(value) > 12]
    assert secrets
    for secret in [*secrets, "/results/", "simulator@example.com"]:
        assert secret not in outcome.stderr


def assert_good_client(server: Simulator, *, images: int) -> None:
    """What the API saw: each image paid once, nothing deleted too early, no token where it must not be."""
    counts = server.counts()
    assert sum(counts.generates_by_image.values()) == images
    assert set(counts.generates_by_source.values()) <= {1}
    assert counts.polls_too_close == 0
    assert counts.authorization_at_link_host == 0
    assert counts.unknown_fields == counts.null_fields == counts.name_list_not_text == 0
    assert all(delete.downloaded for delete in counts.deletes)
    assert not any(delete.foreign for delete in counts.deletes)
    assert len(counts.deletes) == images


def test_a_copy_that_pauses_longer_than_the_settle_time_is_waited_for(house: House, server: Simulator) -> None:
    house.build(defaults="settle: 100ms, settle_max: 30s")
    whole = an_image("jpeg", 400, 300)
    target = house.folder() / "inbox" / "slow.jpg"
    with house.running() as daemon:
        with target.open("wb") as file:
            for part in range(4):
                file.write(whole[part * len(whole) // 4 : (part + 1) * len(whole) // 4])
                file.flush()
                if part < 3:
                    daemon.wait_for("file.unfinished" if part == 0 else "file.settled", times=max(1, part + 1))
        daemon.finished()

    assert (house.folder() / "done" / "slow.jpg").read_bytes() == whole
    assert_good_client(server, images=1)


def test_a_preallocated_copy_is_not_taken_before_it_is_filled(house: House, server: Simulator) -> None:
    house.build(defaults="settle: 100ms, settle_max: 30s")
    whole = an_image("jpeg", 400, 300)
    target = house.folder() / "inbox" / "big.jpg"
    with house.running() as daemon:
        with target.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, len(whole))
            daemon.wait_for("file.unfinished")
            file.write(whole[: len(whole) // 2])
            file.flush()
            daemon.wait_for("file.unfinished", lambda line: "end" in line["why"] or line["why"] != "")
            file.write(whole[len(whole) // 2 :])
        daemon.finished()

    assert (house.folder() / "done" / "big.jpg").read_bytes() == whole
    assert_good_client(server, images=1)


def test_every_way_to_drop_a_file_is_noticed_by_events(house: House, tmp_path: Path) -> None:
    house.build(defaults="settle: 100ms, scan_interval: 1h")
    hot = house.folder()
    for number, name in enumerate(("moved", "linked", "copied", "written")):
        (tmp_path / f"{name}.png").write_bytes(an_image("png", seed=number))
    with house.running() as daemon:
        daemon.wait_for("engine.recovered")
        (tmp_path / "moved.png").rename(hot / "inbox" / "moved.png")
        os.link(tmp_path / "linked.png", hot / "inbox" / "linked.png")
        shutil.copy2(tmp_path / "copied.png", hot / "inbox" / "copied.png")
        (hot / "inbox" / ".written.png.tmp").write_bytes((tmp_path / "written.png").read_bytes())
        (hot / "inbox" / ".written.png.tmp").rename(hot / "inbox" / "written.png")
        daemon.finished(times=4)

    assert names(hot / "outbox") == ["copied.png", "linked.png", "moved.png", "written.png"]


def test_results_keep_the_bytes_the_api_sent(house: House) -> None:
    (house.folder() / "inbox" / "pic.png").write_bytes(an_image("png"))
    house.call("once")
    content = (house.folder() / "outbox" / "pic.png").read_bytes()

    with Image.open(io.BytesIO(content)) as image:
        image.load()
    assert (house.folder() / "outbox" / "pic.png").stat().st_mode & 0o777 == 0o666 & ~_umask()


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_moved_back_from_the_error_folder_is_tried_again(house: House, server: Simulator) -> None:
    hot = house.folder()
    server.set_fault("generate:job-fails")
    (hot / "inbox" / "pic.png").write_bytes(an_image("png"))
    first = house.call("once")
    (hot / "error" / "pic.png").rename(hot / "inbox" / "pic.png")
    second = house.call("once")

    assert (first.returncode, second.returncode) == (3, 0), second.stderr
    assert names(hot / "outbox") == ["pic.png"]
    assert os.listdir(hot / "error") == []
