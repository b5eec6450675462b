"""Owns the values that the templates show: words and numbers only, ready to be put on the page."""

from __future__ import annotations

from dataclasses import dataclass

from expandd.service.page.canvas import Canvas


@dataclass(frozen=True, slots=True)
class Button:
    """Something to order: the verb, about which job or folder (its key), and what stands on the button."""

    verb: str
    words: str
    about: str
    job: str = ""
    folder: str = ""
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Moment:
    """A time for people and for machines."""

    words: str
    machine: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureView:
    """One result beside its source."""

    job: str
    name: str
    folder: str
    preset: str
    at: Moment
    sizes: str
    added: str
    canvas: Canvas | None
    source_alt: str
    result_alt: str
    differs: str
    free: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A file in hand, in need of a person, or in the error folder."""

    job: str
    name: str
    folder: str
    at: Moment
    words: str
    advice: str
    picture: str
    buttons: tuple[Button, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HaltView:
    """Something that waits, and why."""

    title: str
    why: str
    at: Moment | None
    button: Button | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderView:
    """One row of the table of folders."""

    name: str
    path: str
    preset: str
    waiting: str
    oldest: str
    in_flight: str
    done: str
    in_error: int
    paid: str
    left: str
    halted: str
    button: Button


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its name, and a remark."""

    name: str
    value: str
    remark: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """Everything on the page but the plots."""

    headline: str
    remark: str
    tone: str
    button: Button
    halts: tuple[HaltView, ...]
    figures: tuple[Figure, ...]
    newest: PictureView | None
    pictures: tuple[PictureView, ...]
    in_hand: tuple[JobView, ...]
    more_in_hand: int
    held: tuple[JobView, ...]
    failed: tuple[JobView, ...]
    more_failed: int
    folders: tuple[FolderView, ...]
    money: tuple[Figure, ...]
    at: Moment
