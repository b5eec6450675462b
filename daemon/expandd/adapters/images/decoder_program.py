"""The decoder process: its limits, its requests and its answers.

A request is one JSON line with its open files beside it, an answer one JSON line in ASCII. The first line says that
the process is ready. The end of its input ends the process, so it dies with its daemon.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, BinaryIO

from expandd.adapters.images.limits import MOST_MEMORY, MOST_WRITTEN, NeedsRoom, grant
from expandd.adapters.images.sandbox import Wall, shut_in
from expandd.adapters.json_text import read_as, written
from expandd.domain.errors import FileFault, Later
from expandd.domain.finishing import Finishing
from expandd.domain.image import ImageFormat, Incomplete, Inspection, Invalid, Prepared, Size, Valid

NICE = 5
"""The niceness of the decoders, so that the daemon goes first."""

MOST_OPEN = 32
"""Open descriptors at most; a request brings up to three."""

MOST_REQUEST = 4096


class Task(Enum):
    """The tasks of a child."""

    INSPECT = "inspect"
    INSPECT_RESULT = "inspect_result"
    PREPARE = "prepare"
    FINISH = "finish"
    THUMBNAIL = "thumbnail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One task for the files passed with it: the image, and for some tasks a new file to write.

    For FINISH the API's image comes between them, and `plan` describes the result. `cpu` limits the processor time, in
    seconds; `pixels` limits the memory to that of an image of so many px. `most_pixels` is for INSPECT_RESULT and
    THUMBNAIL, `side` the longest side of a THUMBNAIL in px.
    """

    task: Task
    cpu: int = 60
    pixels: int = 0
    most_pixels: int = 0
    side: int = 0
    plan: Finishing | None = None

    def line(self) -> bytes:
        return _line(written(self))


@dataclass(frozen=True, slots=True)
class Ready:
    """The child takes requests. `walls` protect the machine from it, `formats` are those that its libraries decode."""

    walls: tuple[Wall, ...]
    formats: tuple[ImageFormat, ...] = ()


@dataclass(frozen=True, slots=True)
class Large:
    """Nothing was done: the image has `pixels` px, and memory was granted for fewer."""

    pixels: int


@dataclass(frozen=True, slots=True)
class Done:
    """The new file is written."""


@dataclass(frozen=True, slots=True)
class AsItIs:
    """Nothing was written: the image needs no change."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small WEBP of an image, and the upright size of the image itself in px."""

    webp: bytes
    of: Size


@dataclass(frozen=True, slots=True)
class NotNow:
    """The task cannot be done just now; `reason` is a sentence."""

    reason: str


Answer = Inspection | Prepared | Done | AsItIs | Thumbnail | NotNow | Large


_ANSWERS = {
    "valid": Valid,
    "incomplete": Incomplete,
    "invalid": Invalid,
    "prepared": Prepared,
    "large": Large,
    "done": Done,
    "as it is": AsItIs,
    "thumbnail": Thumbnail,
    "not now": NotNow,
}


def answer_line(answer: Answer) -> bytes:
    name = next(name for name, kind in _ANSWERS.items() if isinstance(answer, kind))
    return _line({"is": name, **written(answer)})


def parse_answer(line: bytes) -> Answer:
    """The answer in `line`. Raises ValueError, KeyError or TypeError for an invalid one."""
    fields = json.loads(line)
    answer: Answer = read_as(_ANSWERS[fields.pop("is")], fields)
    return answer


def parse_ready(line: bytes) -> Ready:
    """The first line of a child. Raises ValueError for any other line."""
    return read_as(Ready, json.loads(line))


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode("ascii") + b"\n"


def carry_out(request: Request, files: Sequence[int]) -> Answer:
    # Only the child needs Pillow: the daemon imports this module for its requests and answers.
    from expandd.adapters.images.decoder import thumbnail  # noqa: PLC0415 - as said
    from expandd.adapters.images.finish import finish  # noqa: PLC0415 - as said
    from expandd.adapters.images.inspection import inspect, inspect_result  # noqa: PLC0415 - as said
    from expandd.adapters.images.prepare import prepare  # noqa: PLC0415 - as said

    try:
        match request.task:
            case Task.INSPECT:
                return inspect(files[0])
            case Task.INSPECT_RESULT:
                return inspect_result(files[0], request.most_pixels)
            case Task.PREPARE:
                return prepare(files[0], files[1])
            case Task.FINISH:
                assert request.plan is not None, "FINISH has a plan"
                return Done() if finish(files[0], files[1], files[2], request.plan) else AsItIs()
            case Task.THUMBNAIL:
                return Thumbnail(*thumbnail(files[0], request.most_pixels, request.side))
    except FileFault as error:
        return Invalid(error.fault)
    except Later as error:
        return NotNow(str(error))
    except NeedsRoom as error:
        return Large(error.pixels)


def serve(
    carry: Callable[[Request, Sequence[int]], Answer],
    shut: Callable[[], tuple[Wall, ...]] = lambda: (),
    formats: tuple[ImageFormat, ...] = (),
) -> None:
    """Answer requests from standard input, a socket, until it ends; `shut` first puts up walls around the process."""
    with _answers() as answers, socket.socket(fileno=0) as requests:
        answers.write(_line(written(Ready(shut(), formats))))
        answers.flush()
        while True:
            line, files, _, _ = socket.recv_fds(requests, MOST_REQUEST, 3)
            if not line:
                break
            request = read_as(Request, json.loads(line))
            _allow_time(request.cpu)
            grant(request.pixels)
            answer = carry(request, files)
            for descriptor in files:
                # The image's descriptor is closed with the image.
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            answers.write(answer_line(answer))
            answers.flush()


def _answers() -> BinaryIO:
    """Standard output for answers only: everything else that is printed goes to standard error."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "wb")


def confine() -> None:
    """Set this process's limits, priority and signals. Only for a child: nothing of it can be undone."""
    # The daemon handles a stop signal to the whole group: it closes our input when it is done.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    limits = (
        (resource.RLIMIT_AS, MOST_MEMORY),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MOST_WRITTEN),
        (resource.RLIMIT_NOFILE, MOST_OPEN),
    )
    for kind, most in limits:
        _, hard = resource.getrlimit(kind)
        # A lower limit of the daemon itself was set on purpose.
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))
    # The daemon's loop, on which the API and all folders depend, runs at once even with all cores busy decoding.
    # The service's sandbox (SystemCallFilter=) may forbid priorities: decoding works without them.
    with contextlib.suppress(OSError):
        os.nice(NICE)
    # Every size is checked before Pillow reads the file, and nobody reads warnings of this process.
    warnings.simplefilter("ignore")


def _allow_time(seconds: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def load() -> None:
    """Import all that decoding needs: a child starts before its image has settled, and opens no file later."""
    from pi_heif.as_plugin import register_heif_opener  # noqa: PLC0415, as above
    from PIL import (  # noqa: PLC0415, as above
        AvifImagePlugin,
        BmpImagePlugin,  # noqa: F401, as above
        GifImagePlugin,  # noqa: F401, as above
        Image,
        ImageCms,
        Jpeg2KImagePlugin,  # noqa: F401, as above
        JpegImagePlugin,  # noqa: F401, as above
        MpoImagePlugin,  # noqa: F401, as above
        PngImagePlugin,
        TiffImagePlugin,  # noqa: F401, as above
    )

    from expandd.adapters.images import decoder, finish, inspection, prepare  # noqa: F401, PLC0415, as above
    from expandd.adapters.images.formats.png import MOST_TEXT  # noqa: PLC0415, as above

    # The plugins of the formats in use, not the thirty others: files are opened with `formats`.
    Image.preinit()
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    # Several processes decode at once, each in one thread.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    # This loads the library of colour profiles.
    ImageCms.createProfile("sRGB")
    Image.MAX_IMAGE_PIXELS = None
    # Editors write megabytes of history into PNG texts; memory is bounded for the whole process.
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT


_LIBRARIES = {
    ImageFormat.JPEG: "jpg",
    ImageFormat.PNG: "zlib",
    ImageFormat.WEBP: "webp",
    ImageFormat.TIFF: "libtiff",
    ImageFormat.AVIF: "avif",
    ImageFormat.JPEG2000: "jpg_2000",
}
"""Formats that Pillow can be built without, and Pillow's names of their decoders."""


def readable() -> tuple[ImageFormat, ...]:
    """The formats that the installed libraries can decode."""
    from PIL import features  # noqa: PLC0415, as above

    lacking = {image_format for image_format, library in _LIBRARIES.items() if not features.check(library)}
    return tuple(image_format for image_format in ImageFormat if image_format not in lacking)


def main() -> None:
    load()
    formats = readable()
    confine()
    # A daemon that was killed reads no answer, which is no error.
    with contextlib.suppress(BrokenPipeError):
        serve(carry_out, shut_in, formats)


if __name__ == "__main__":
    main()
