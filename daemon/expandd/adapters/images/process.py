"""Owns the child process that decodes: its limits, and the lines in which it is asked and answers.

One JSON line asks, one answers, in ASCII; the end of its input ends the process, so it dies with its daemon.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from expandd.domain.errors import Fault, FaultCode, FileFault, Later
from expandd.domain.findings import Finding, Unfinished, Unfit, Whole
from expandd.domain.job import ImageFormat
from expandd.domain.offsets import Size

MEMORY = 1536 << 20
"""Bytes of address space: the largest picture takes a third of it."""

MOST_TEXT = 64 << 20  # bytes of text in one PNG
CPU = 60
"""Seconds of processor time for one request."""


class Task(Enum):
    """What a child can be asked for."""

    EXAMINE = "examine"
    EXAMINE_RESULT = "examine_result"
    MAKE_UPRIGHT = "make_upright"
    THUMBNAIL = "thumbnail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing to do. `most_pixels` is for EXAMINE_RESULT and THUMBNAIL, `target` for MAKE_UPRIGHT.

    `side` is the longest side of a THUMBNAIL in px.
    """

    task: Task
    path: str
    target: str = ""
    most_pixels: int = 0
    side: int = 0

    def line(self) -> bytes:
        return _line(asdict(self) | {"task": self.task.value})


@dataclass(frozen=True, slots=True)
class Done:
    """The upright copy is written."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small WEBP of a picture, and the size in px of the picture itself, as a person sees it."""

    webp: bytes
    of: Size


@dataclass(frozen=True, slots=True)
class NotNow:
    """Neither file can be judged just now; `reason` is a sentence."""

    reason: str


Answer = Finding | Done | Thumbnail | NotNow


def parse_request(line: bytes) -> Request:
    fields = json.loads(line)
    return Request(**fields | {"task": Task(fields["task"])})


def answer_line(answer: Answer) -> bytes:
    match answer:
        case Whole(format=image_format, size=size, orientation=orientation):
            return _line(
                {
                    "is": "whole",
                    "format": image_format.value,
                    "width": size.width,
                    "height": size.height,
                    "orientation": orientation,
                }
            )
        case Unfinished(fault=fault) | Unfit(fault=fault):
            kind = "unfit" if isinstance(answer, Unfit) else "unfinished"
            return _line({"is": kind, **asdict(fault), "code": fault.code.value})
        case Done():
            return _line({"is": "done"})
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
            size = Size(fields["width"], fields["height"])
            return Whole(format=ImageFormat(fields["format"]), size=size, orientation=fields["orientation"])
        case "unfit" | "unfinished" as kind:
            fault = Fault(FaultCode(fields["code"]), fields["message"], fields["what_to_do"])
            return Unfit(fault) if kind == "unfit" else Unfinished(fault)
        case "done":
            return Done()
        case "thumbnail":
            webp = base64.b64decode(fields["webp"], validate=True)
            return Thumbnail(webp, Size(fields["width"], fields["height"]))
        case _:
            return NotNow(fields["reason"])


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode("ascii") + b"\n"


def carry_out(request: Request) -> Answer:
    # Pillow is wanted in the child only: the daemon imports this module for its lines.
    from expandd.adapters.images import decoder as image_decoder  # noqa: PLC0415 - as said

    path = Path(request.path)
    try:
        match request.task:
            case Task.EXAMINE:
                return image_decoder.examine(path)
            case Task.EXAMINE_RESULT:
                return image_decoder.examine_result(path, request.most_pixels)
            case Task.MAKE_UPRIGHT:
                image_decoder.make_upright(path, Path(request.target))
                return Done()
            case Task.THUMBNAIL:
                from expandd.adapters.images.thumbnail import thumbnail  # noqa: PLC0415 - only the page's readers need it

                return Thumbnail(*thumbnail(path, request.most_pixels, request.side))
    except FileFault as error:
        return Unfit(error.fault)
    except Later as error:
        return NotNow(str(error))


def serve(carry: Callable[[Request], Answer]) -> None:
    """Answer requests from standard input until it ends."""
    with _answers() as answers:
        for line in sys.stdin.buffer:
            _allow_time()
            answers.write(answer_line(carry(parse_request(line))))
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
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Every size is checked before Pillow sees the file, and this process has nobody to warn.
    warnings.simplefilter("ignore")


def _allow_time() -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + CPU
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main() -> None:
    from PIL import Image, PngImagePlugin  # noqa: PLC0415, as above

    # Also loaded now, not with the first picture: a child is started before its picture has settled.
    from expandd.adapters.images import decoder as _  # noqa: F401, PLC0415, as above

    confine()
    Image.MAX_IMAGE_PIXELS = None
    # Editors write megabytes of history into PNG texts; memory is bounded for the whole process.
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT
    # A daemon that was killed reads no answer: nobody needs to hear of it.
    with contextlib.suppress(BrokenPipeError):
        serve(carry_out)


if __name__ == "__main__":
    main()
