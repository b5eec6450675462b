"""The decoder process: its limits, and the messages in which it is asked and answers.

One JSON line asks, with the open files it is about beside it; one answers, in ASCII. Its first line says that it is
ready. The end of its input ends the process, so it dies with its daemon.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import signal
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, BinaryIO

from expandd.adapters.images.sandbox import Wall, shut_in
from expandd.domain.errors import Fault, FaultCode, FileFault, Later
from expandd.domain.image import Finding, ImageFormat, Size, Unfinished, Unfit, Whole

MEMORY = 1536 << 20
"""Bytes of address space: the largest image takes a third of it."""

MOST_WRITTEN = 1 << 30
"""Bytes of a file that it writes."""

MOST_OPEN = 32
"""Descriptors; it is handed two at a time."""

MOST_REQUEST = 4096


class Task(Enum):
    """What a child can be asked for."""

    EXAMINE = "examine"
    EXAMINE_RESULT = "examine_result"
    MAKE_UPRIGHT = "make_upright"
    FIRST_IMAGE = "first_image"
    THUMBNAIL = "thumbnail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing to do with the files that come along: the image, and for some tasks a new file to write.

    `cpu` is how many seconds of processor time it may take. `most_pixels` is for EXAMINE_RESULT and THUMBNAIL, `side`
    the longest side of a THUMBNAIL in px.
    """

    task: Task
    cpu: int = 60
    most_pixels: int = 0
    side: int = 0

    def line(self) -> bytes:
        return _line(asdict(self) | {"task": self.task.value})


@dataclass(frozen=True, slots=True)
class Ready:
    """The child can be asked. `walls` are those that stand around it."""

    walls: tuple[Wall, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The new file is written."""


@dataclass(frozen=True, slots=True)
class AsItIs:
    """Nothing was written: the image can be used as it is."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small WEBP of an image, and the size in px of the image itself, as a person sees it."""

    webp: bytes
    of: Size


@dataclass(frozen=True, slots=True)
class NotNow:
    """Neither file can be judged just now; `reason` is a sentence."""

    reason: str


Answer = Finding | Done | AsItIs | Thumbnail | NotNow


def parse_request(line: bytes) -> Request:
    fields = json.loads(line)
    return Request(**fields | {"task": Task(fields["task"])})


def ready_line(ready: Ready) -> bytes:
    return _line({"is": "ready", "walls": [wall.value for wall in ready.walls]})


def parse_ready(line: bytes) -> Ready:
    """The first line of a child. Raises ValueError, KeyError or TypeError for another one."""
    fields = json.loads(line)
    if fields["is"] != "ready":
        raise ValueError("not ready")
    return Ready(tuple(Wall(wall) for wall in fields["walls"]))


def answer_line(answer: Answer) -> bytes:
    match answer:
        case Whole(size=size):
            facts = asdict(answer) | {"format": answer.format.value, "size": (size.width, size.height)}
            return _line({"is": "whole"} | facts)
        case Unfinished(fault=fault) | Unfit(fault=fault):
            kind = "unfit" if isinstance(answer, Unfit) else "unfinished"
            return _line({"is": kind, **asdict(fault), "code": fault.code.value})
        case Done():
            return _line({"is": "done"})
        case AsItIs():
            return _line({"is": "as it is"})
        case Thumbnail(webp=webp, of=of):
            text = base64.b64encode(webp).decode("ascii")
            return _line({"is": "thumbnail", "webp": text, "width": of.width, "height": of.height})
        case NotNow(reason=reason):
            return _line({"is": "not now", "reason": reason})


def parse_answer(line: bytes) -> Answer:
    """The answer in `line`. Raises ValueError, KeyError or TypeError for one that no child of ours writes."""
    fields = json.loads(line)
    match fields["is"]:
        case "whole":
            del fields["is"]
            return Whole(**fields | {"format": ImageFormat(fields["format"]), "size": Size(*fields["size"])})
        case "unfit" | "unfinished" as kind:
            fault = Fault(FaultCode(fields["code"]), fields["message"], fields["what_to_do"])
            return Unfit(fault) if kind == "unfit" else Unfinished(fault)
        case "done":
            return Done()
        case "as it is":
            return AsItIs()
        case "thumbnail":
            webp = base64.b64decode(fields["webp"], validate=True)
            return Thumbnail(webp, Size(fields["width"], fields["height"]))
        case _:
            return NotNow(fields["reason"])


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode("ascii") + b"\n"


def carry_out(request: Request, files: Sequence[int]) -> Answer:
    # Pillow is wanted in the child only: the daemon imports this module for its lines.
    from expandd.adapters.images import decoder as image_decoder  # noqa: PLC0415 - as said
    from expandd.adapters.images.decoder import thumbnail  # noqa: PLC0415 - as said

    try:
        match request.task:
            case Task.EXAMINE:
                return image_decoder.examine(files[0])
            case Task.EXAMINE_RESULT:
                return image_decoder.examine_result(files[0], request.most_pixels)
            case Task.MAKE_UPRIGHT:
                image_decoder.make_upright(files[0], files[1])
                return Done()
            case Task.FIRST_IMAGE:
                return Done() if image_decoder.first_image(files[0], files[1]) else AsItIs()
            case Task.THUMBNAIL:
                return Thumbnail(*thumbnail(files[0], request.most_pixels, request.side))
    except FileFault as error:
        return Unfit(error.fault)
    except Later as error:
        return NotNow(str(error))


def serve(carry: Callable[[Request, Sequence[int]], Answer], shut: Callable[[], tuple[Wall, ...]] = lambda: ()) -> None:
    """Answer requests from standard input, a socket, until it ends, once `shut` has put up walls around the process."""
    with _answers() as answers, socket.socket(fileno=0) as requests:
        answers.write(ready_line(Ready(shut())))
        answers.flush()
        while True:
            line, files, _, _ = socket.recv_fds(requests, MOST_REQUEST, 2)
            if not line:
                break
            request = parse_request(line)
            _allow_time(request.cpu)
            answer = carry(request, files)
            for descriptor in files:
                # The image's is closed with it.
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            answers.write(answer_line(answer))
            answers.flush()


def _answers() -> BinaryIO:
    """Standard output for our lines alone: whatever else is printed goes to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "wb")


def confine() -> None:
    """Set this process's limits and manners. Only for a child: nothing of it can be taken back."""
    # A stop signal to the whole group is the daemon's to handle: it closes our input when it is through.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    limits = (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MOST_WRITTEN),
        (resource.RLIMIT_NOFILE, MOST_OPEN),
    )
    for kind, most in limits:
        _, hard = resource.getrlimit(kind)
        # Whoever set a lower one for the daemon meant it.
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))
    # Every size is checked before Pillow sees the file, and this process has nobody to warn.
    warnings.simplefilter("ignore")


def _allow_time(seconds: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def load() -> None:
    """Import all that decoding needs: a child is started before its image has settled, and opens no file later."""
    from PIL import Image, ImageCms, JpegImagePlugin, MpoImagePlugin, PngImagePlugin, TiffImagePlugin  # noqa: F401, PLC0415, as above

    from expandd.adapters.images import decoder  # noqa: F401, PLC0415, as above
    from expandd.adapters.images.formats.png import MOST_TEXT  # noqa: PLC0415, as above

    # The plugins of what is decoded and written here, not the forty others: files are opened with `formats`.
    Image.preinit()
    Image.MAX_IMAGE_PIXELS = None
    # Editors write megabytes of history into PNG texts; memory is bounded for the whole process.
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT


def main() -> None:
    load()
    confine()
    # A daemon that was killed reads no answer: nobody needs to hear of it.
    with contextlib.suppress(BrokenPipeError):
        serve(carry_out, shut_in)


if __name__ == "__main__":
    main()
