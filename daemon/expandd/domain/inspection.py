"""Owns what a look inside a picture can find: a whole one, one still on its way, or none that can be used."""

from __future__ import annotations

from dataclasses import dataclass

from expandd.domain.errors import Fault
from expandd.domain.image import ImageFormat, Size


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """The file is a complete picture the API takes. `size` is as a person sees it, orientation applied."""

    format: ImageFormat
    size: Size
    orientation: int


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The file may still be on its way: empty, zeros, cut off. `fault` is what it is if it stays so."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class Unfit:
    """The file is clearly something that cannot be expanded."""

    fault: Fault


Finding = Whole | Unfinished | Unfit
