"""`demo` and `simulate`: expandd on sample images without an account, and the simulator by itself."""

from __future__ import annotations

import asyncio
import io
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import click
from PIL import Image, ImageChops, ImageCms
from rich.console import Console

from expandd.adapters.config.load import load
from expandd.adapters.images.decoders import PillowImages
from expandd.domain.events import Event, JobClosed
from expandd.domain.job import Job, JobState
from expandd.domain.naming import printable
from expandd.engine.engine import Engine
from expandd.service.exit_codes import ExitCode
from expandd.service.preview.contact_sheet import SIDE, SheetRow, Shown, contact_sheet
from expandd.service.runtime.app import EventBus, built, run_until
from expandd.service.runtime.daemon import stopped_by_signals
from expandd.service.runtime.progress import Progress
from expandd.simulator.faults import read_fault
from expandd.simulator.server import Simulator, serve
from expandd.simulator.switches import Switches, with_texts

NAMES = (
    "still life.png",
    "sunset over hills.jpg",
    "portrait.jpg",
    "city at night.webp",
    "poster.tif",
    "beach.heic",
)

_PHOTO = "sunset over hills.jpg"
_PHOTO_SIZE = (6000, 4000)
_GRAIN = 3  # steps up or down, as a sensor adds them
_MAKER, _MODEL = 0x010F, 0x0110  # of EXIF


def write_samples(directory: Path) -> tuple[Path, ...]:
    """Write the samples into `directory`, which exists, under their own names; their paths."""
    return tuple(_written(directory / name) for name in NAMES)


def _written(path: Path) -> Path:
    samples = resources.files(__package__) / "samples"
    if path.name == _PHOTO:
        _write_photo(samples, path)
    elif path.suffix == ".png":
        # Shipped as WEBP, at a tenth of the size.
        _opened(samples / f"{path.name}.webp").save(path)
    elif path.suffix == ".tif":
        _opened(samples / f"{path.name}.webp").save(path, compression="tiff_lzw", dpi=(300, 300))
    else:
        path.write_bytes((samples / path.name).read_bytes())
    return path


def _opened(shipped: Traversable) -> Image.Image:
    with shipped.open("rb") as file, Image.open(file) as image:
        image.load()
    return image


def _write_photo(samples: Traversable, path: Path) -> None:
    """A photo as a camera makes it: 24 million px, a wide-gamut profile, EXIF, 300 dpi."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO((samples / "display p3.icc").read_bytes()))
    small = _opened(samples / path.name)
    ImageCms.profileToProfile(small, ImageCms.createProfile("sRGB"), profile, inPlace=True)
    large = small.resize(_PHOTO_SIZE, Image.Resampling.BICUBIC)
    # Seeded: the demo shows the same each time.
    noise = random.Random(24).randbytes(_PHOTO_SIZE[0] * _PHOTO_SIZE[1])  # noqa: S311 - a texture, not a secret
    levels = [128 + (level - 128) * _GRAIN // 128 for level in range(256)]
    grain = Image.frombytes("L", _PHOTO_SIZE, noise).point(levels)
    photo = ImageChops.add(large, Image.merge("RGB", [grain] * 3), offset=-128)
    exif = Image.Exif()
    exif[_MAKER], exif[_MODEL] = "expandd", "Sample camera"
    photo.save(path, quality=90, exif=exif, icc_profile=profile.tobytes(), dpi=(300, 300))


def run_simulate(host: str, port: int, link_port: int, switches: Sequence[str], faults: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM. Raises click.UsageError for a switch or fault that is none."""
    try:
        chosen = with_texts(Switches(), switches)
        struck = [read_fault(text) for text in faults]
    except ValueError as error:
        raise click.UsageError(str(error)) from error

    def opened(server: Simulator) -> None:
        _line("Simulator of the Magic Expand API: nothing here costs anything. Set in the configuration:")
        _line(f"  api: {{base_url: {server.api_url}, generate_path: {chosen.generate_path}}}")
        _line("and in the environment:")
        _line(f"  PIKTID_EMAIL={chosen.email} PIKTID_PASSWORD={chosen.password}")

    try:
        serve(host=host, port=port, link_port=link_port, switches=chosen, faults=struck, log=_line, opened=opened)
    except OSError as error:
        why = error.strerror or error
        click.echo(f"expandd: cannot listen on {host}:{port} or :{link_port}: {why}. Choose another --port.", err=True)
        return ExitCode.OUR_FAULT
    return ExitCode.FINE


def _line(text: str) -> None:
    """Say it. Where nobody reads any more, the simulator serves on all the same."""
    try:
        click.echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def describe_switches() -> str:
    """Every switch with its default, for the help page."""
    defaults: Mapping[str, object] = Switches().as_json()
    return "\n".join(f"  {name}={value}" for name, value in defaults.items())


FOLDERS = ("stories", "prints", "banners")

CONFIGURATION = """\
# The configuration of the demo: three hot folders and the simulator.
state_dir: {root}/state
workers: 4
api: {{base_url: "{url}", poll_interval: 500ms}}
presets:
  story: {{aspect: "9:16"}}
  bleed: {{top: 4%, bottom: 4%, left: 4%, right: 4%}}
  wide: {{left: 40%, right: 40%}}
defaults: {{settle: 500ms}}
folders:
  - {{root: {root}/stories, preset: story}}
  - {{root: {root}/prints, preset: bleed, name: "{{stem}}_bleed{{ext}}"}}
  - {{root: {root}/banners, preset: wide}}
"""

NOTE = "Not an image: expandd puts this file into the error folder and says why in a file beside it.\n"


def run_demo(keep: Path | None) -> int:
    """Run the demo in `keep`, or in a new temporary folder that is left for looking at."""
    root = keep or Path(tempfile.mkdtemp(prefix="expandd-demo-"))
    try:
        root.mkdir(parents=True, exist_ok=True)
        taken = any(root.iterdir())
    except OSError as error:
        raise click.UsageError(f"{printable(root)} cannot be used: {error.strerror}. Name another folder.") from error
    if taken:
        raise click.UsageError(f"{printable(root)} is not empty; give the demo a folder of its own.")
    return asyncio.run(_demo(root.resolve(), Console()))


async def _demo(root: Path, console: Console) -> int:
    _make_folders(root)
    samples = await asyncio.to_thread(write_samples, root / "samples")
    console.print(f"Six images, one of 24 megapixels, and a text file go into three folders in {root}.", markup=False)
    closed = _Closed(expected=len(samples) + 1)
    switches = Switches(pro=True, poll_limit=0.4, generate_min=1.0, generate_max=2.5)
    with Simulator(switches) as server, Progress(console) as progress:
        (root / "config.yaml").write_text(CONFIGURATION.format(root=root, url=server.api_url), encoding="utf-8")
        environ = {"PIKTID_EMAIL": switches.email, "PIKTID_PASSWORD": switches.password}
        async with built(load(root / "config.yaml"), environ, EventBus(progress, closed)) as engine:
            await _drop_and_wait(engine, root, samples, closed)
    return await _show(root, console, closed)


async def _drop_and_wait(engine: Engine, root: Path, samples: Sequence[Path], closed: _Closed) -> None:
    stop = stopped_by_signals()
    closed.all_of_them = stop
    working = asyncio.create_task(run_until(engine, stop))
    for number, sample in enumerate(samples):
        inbox = root / FOLDERS[number % len(FOLDERS)] / "inbox"
        await asyncio.to_thread(shutil.copy, sample, inbox)
    (root / "prints" / "inbox" / "notes.txt").write_text(NOTE, encoding="utf-8")
    await working


async def _show(root: Path, console: Console, closed: _Closed) -> int:
    done = sorted((job for job in closed.jobs if job.state is JobState.DONE), key=lambda job: job.folder.inbox)
    if len(closed.jobs) < closed.expected:
        console.print(f"Stopped before the end. What there is lies in {root}.", markup=False)
        return ExitCode.SOME_WAIT
    sheet = root / "contact-sheet.png"
    await asyncio.to_thread(contact_sheet, await _rows(done), sheet)
    console.print(f"\n{len(done)} images expanded; nothing was paid: the API was the simulator.")
    for words, path in (
        ("each source beside its result", sheet),
        ("results", root / "stories" / "outbox"),
        ("originals", root / "stories" / "done"),
        ("what could not be expanded, and why", root / "prints" / "error"),
        ("the configuration", root / "config.yaml"),
    ):
        console.print(f"  {words:<36} {path}", markup=False, soft_wrap=True)
    return ExitCode.FINE


async def _rows(jobs: Sequence[Job]) -> list[SheetRow]:
    async with PillowImages() as images:
        return [await _row(job, images) for job in jobs]


async def _row(job: Job, images: PillowImages) -> SheetRow:
    assert job.archived_to is not None
    assert job.target is not None
    assert job.uploaded_size is not None
    return SheetRow(
        source=await _shown(job.archived_to, images),
        result=await _shown(job.target, images),
        uploaded=job.uploaded_size,
        offsets=job.offsets,
        title=f"{printable(job.target.name)} · {job.folder.preset_name}",
    )


async def _shown(path: Path, images: PillowImages) -> Shown:
    small = await images.thumbnail(path, SIDE)
    return Shown(name=path.name, size=small.of, small=small.webp)


def _make_folders(root: Path) -> None:
    (root / "samples").mkdir()
    for name in FOLDERS:
        for part in ("inbox", "outbox", "done", "error"):
            (root / name / part).mkdir(parents=True)


@dataclass(slots=True)
class _Closed:
    """Collects the jobs that are over, and says when all are."""

    expected: int
    jobs: list[Job] = field(default_factory=list)
    all_of_them: asyncio.Event | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, JobClosed):
            self.jobs.append(event.job)
            if len(self.jobs) >= self.expected and self.all_of_them is not None:
                self.all_of_them.set()
