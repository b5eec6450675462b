"""Corrects the API's colours by their mean difference along the original's border, so that no edge shows there.

Generative models shift colours by a few steps. In a smooth sky that shows at once, even with a soft seam: three steps
show across 32 px. So the mean difference along the border is subtracted outside of it. It is measured in cells of some
30 px and smoothed over several of them, so that neither grain nor a differing detail counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image, ImageChops, ImageFilter

from expandd.adapters.images.source import Box

Place = tuple[float, float, float, float]
"""Left, top, right and bottom in fractions of px."""

_CELLS, _LEAST_CELL = 256, 16
_MIDDLE, _FINE = 128, 8
"""A difference is stored in eighths of a step, from -16 to nearly 16: a larger one is a difference of content."""

_SMOOTH = 4
_BEYOND = 2


def cells(seen: Box) -> tuple[int, int]:
    """The number of cells of the visible part of the original, horizontally and vertically."""
    width, height = seen[2] - seen[0], seen[3] - seen[1]
    cell = max(_LEAST_CELL, max(width, height) / _CELLS)
    return max(1, round(width / cell)), max(1, round(height / cell))


@dataclass(frozen=True, slots=True)
class Correction:
    """The values to add to the API's colours in sRGB, cell by cell, for the whole canvas and a little beyond."""

    differences: Image.Image
    seen: Box
    cell: tuple[float, float]
    before: tuple[int, int]

    def applied(self, image: Image.Image, place: Place) -> Image.Image:
        """The corrected RGB `image` of the part at `place` of the canvas."""
        box = (
            (place[0] - self.seen[0]) / self.cell[0] + self.before[0],
            (place[1] - self.seen[1]) / self.cell[1] + self.before[1],
            (place[2] - self.seen[0]) / self.cell[0] + self.before[0],
            (place[3] - self.seen[1]) / self.cell[1] + self.before[1],
        )
        field = self.differences.resize(image.size, Image.Resampling.BILINEAR, box=box)
        steps = field.point([_MIDDLE + round((value - _MIDDLE) / _FINE) for value in range(256)] * 3)
        return ImageChops.add(image, steps, 1, -_MIDDLE)


def correction(
    original: Image.Image, alpha: Image.Image | None, made: Image.Image, seen: Box, canvas: tuple[int, int]
) -> Correction:
    """The correction from two RGB images of one px a cell: the original's visible part, and the API's copy of it."""
    differences = ImageChops.subtract(original, made, 1 / _FINE, _MIDDLE)
    if alpha is not None:
        # Transparent pixels have no colour to compare.
        differences.paste((_MIDDLE,) * 3, mask=ImageChops.invert(alpha))
    cell = (seen[2] - seen[0]) / differences.width, (seen[3] - seen[1]) / differences.height
    first = int(seen[0] / cell[0]) + _BEYOND, int(seen[1] / cell[1]) + _BEYOND
    last = int((canvas[0] - seen[2]) / cell[0]) + _BEYOND, int((canvas[1] - seen[3]) / cell[1]) + _BEYOND
    wide = _continued(differences, first[0], last[0])
    turned = _continued(wide.transpose(Image.Transpose.TRANSPOSE), first[1], last[1])
    field = turned.transpose(Image.Transpose.TRANSPOSE).filter(ImageFilter.GaussianBlur(_SMOOTH))
    return Correction(field, seen, cell, first)


def _continued(image: Image.Image, before: int, behind: int) -> Image.Image:
    """The image with its first column repeated `before` times on its left, and its last `behind` times on its right."""
    width, height = image.size
    longer = Image.new(image.mode, (before + width + behind, height))
    longer.paste(image.crop((0, 0, 1, height)).resize((before, height)))
    longer.paste(image, (before, 0))
    longer.paste(image.crop((width - 1, 0, width, height)).resize((behind, height)), (before + width, 0))
    return longer
