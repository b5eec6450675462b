"""Owns the painters of the demo's pictures. Each returns its picture at twice the size it is shown at."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from expandd.service.demo.brushes import (
    Ball,
    ball,
    below,
    clouds,
    glow,
    grain,
    ramp,
    ridge,
    shadow,
    sideways,
    stencil,
    tint,
)


def sunset() -> Image.Image:
    """1200 by 800 px: a low sun, five rows of hills that fade into the haze."""
    image = ramp(
        (2400, 1600),
        (0, "#1d2150"),
        (0.22, "#4b3576"),
        (0.42, "#b9527f"),
        (0.56, "#f58a5b"),
        (0.68, "#ffd08a"),
        (1, "#ffe9bd"),
    )
    for seed, place, colour in ((3, 260, "#7c4a8c"), (4, 470, "#ffab91"), (5, 640, "#ffd9a8")):
        band = clouds((2400, 300), (9, 4), seed).point(lambda value: max(value - 120, 0) * 1.1)
        fade = ramp((2400, 300), (0, "black"), (0.5, "white"), (1, "black")).convert("L")
        band.paste(0, (0, 0, *band.size), fade.point(lambda value: 255 - value))
        image.paste(colour, (0, place, 2400, place + 300), band)
    glow(image, (1520, 960), 900, "#fff0b8", 0.8)
    glow(image, (1520, 960), 330, "#fffbe6", 1.6)
    ImageDraw.Draw(image).ellipse((1400, 840, 1640, 1080), fill="#fffdf0")
    rows = (
        (1020, 60, 11, "#e59a80", "#f6bb90"),
        (1120, 75, 12, "#b86a78", "#e29885"),
        (1220, 70, 13, "#84486a", "#b86f78"),
        (1340, 70, 14, "#502f55", "#7c456a"),
        (1470, 60, 15, "#231838", "#3d2549"),
    )
    for base, height, seed, top, foot in rows:
        span = base / 1600
        below(image, ridge(2400, base, height, seed), ramp(image.size, (span - 0.06, top), (span + 0.09, foot)))
    return image


def still_life() -> Image.Image:
    """900 by 900 px: a vase with three branches and some fruit on a table."""
    image = ramp((1800, 1800), (0, "#8fa39b"), (0.45, "#b9c4b6"), (0.70, "#cfd2c1"), (1, "#cfd2c1"))
    glow(image, (420, 300), 1300, "#f4efdc", 0.75)
    image.paste(ramp((1800, 560), (0, "#8a5c3c"), (0.08, "#a9754d"), (1, "#c9986a")), (0, 1240))
    _branches(image, (760, 640))
    shadow(image, (660, 1390, 1420, 1530), 36, 0.55, "#2e1a10")
    _vase(image, (470, 560, 1050, 1460))
    fruit = (
        ((1120, 1350), 150, Ball("#f29a2e", "#a14e12", "#fff1cf")),
        ((1370, 1410), 135, Ball("#d9483b", "#6f1519", "#ffd9cf")),
        ((1180, 1500), 112, Ball("#e8c33e", "#8a6212", "#fffbe0")),
    )
    for (x, y), radius, look in fruit:
        shadow(image, (x - radius * 0.7, y + radius * 0.72, x + radius * 1.6, y + radius * 1.12), 22, 0.6, "#2e1a10")
        ball(image, (x, y), radius, look)
    return grain(image, 0.05, 1)


def _vase(image: Image.Image, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    halves = [(top + height * step / 100, width * _half(step / 100)) for step in range(101)]
    middle = (left + right) / 2
    sides = [(middle - half, y) for y, half in halves]
    others = [(middle + half, y) for y, half in reversed(halves)]
    mask = stencil(image.size, lambda draw: draw.polygon([*sides, *others], fill=255), 1.5)
    glaze = sideways(
        (width, height),
        (0, "#2b4a63"),
        (0.22, "#5f8fae"),
        (0.34, "#a9cddd"),
        (0.5, "#4f82a3"),
        (0.85, "#1f3a52"),
        (1, "#2a475f"),
    )
    layer = Image.new("RGB", image.size)
    layer.paste(glaze, (left, top))
    image.paste(layer, (0, 0), mask)
    lip = width * _half(0)
    ImageDraw.Draw(image).ellipse((middle - lip, top - 24, middle + lip, top + 24), fill="#1a2f42")


def _half(at: float) -> float:
    """Half the vase's width, as a share of its box, `at` this share of the way down: a neck, a lip, a belly."""
    return 0.20 + 0.10 * math.exp(-((at / 0.09) ** 2)) + 0.28 * math.exp(-(((at - 0.60) / 0.26) ** 2))


def _branches(image: Image.Image, foot: tuple[int, int]) -> None:
    draw = ImageDraw.Draw(image)
    dice = random.Random(8)  # noqa: S311, a picture is no secret
    for lean, height in ((-1.0, 430), (-0.25, 560), (0.45, 500), (1.15, 380)):
        stem = [(foot[0] + lean * step**1.45 * 0.7, foot[1] - height * step / 60) for step in range(61)]
        draw.line(stem, fill="#4d5f33", width=8, joint="curve")
        for step in range(12, 61, 6):
            _leaf(draw, stem[step], -1, dice)
            _leaf(draw, stem[step - 3], 1, dice)


def _leaf(draw: ImageDraw.ImageDraw, stem: tuple[float, float], side: int, dice: random.Random) -> None:
    length, turn = dice.uniform(75, 115), math.radians(dice.uniform(20, 55))
    along, across = (side * math.cos(turn), -math.sin(turn)), (math.sin(turn) * side, math.cos(turn))
    edge = [(step / 10, 0.23 * math.sin(math.pi * step / 10)) for step in range(11)]
    outline = edge + [(far, -out) for far, out in reversed(edge)]
    points = [
        (stem[0] + length * (far * along[0] + out * across[0]), stem[1] + length * (far * along[1] + out * across[1]))
        for far, out in outline
    ]
    draw.polygon(points, fill=dice.choice(("#6f8a48", "#86a057", "#56703c", "#9db069")))


def portrait() -> Image.Image:
    """800 by 1000 px: a person before the lights of an evening."""
    image = ramp((1600, 2000), (0, "#16303c"), (0.45, "#2f5a60"), (1, "#12222a"))
    dice = random.Random(21)  # noqa: S311, a picture is no secret
    for _ in range(60):
        x, y, radius = dice.uniform(-50, 1650), dice.gauss(900, 420), dice.uniform(35, 110)
        colour = dice.choice(("#ffb45e", "#ff8f5a", "#ffd79a", "#7fc4c9", "#f46d6d"))
        disc = Image.new("L", (round(2 * radius), round(2 * radius)))
        ImageDraw.Draw(disc).ellipse((0, 0, *disc.size), fill=round(dice.uniform(40, 150)))
        image.paste(colour, (round(x - radius), round(y - radius)), disc)
    image = image.filter(ImageFilter.GaussianBlur(9))
    person = stencil(image.size, _person, 4)
    image.paste(ramp(image.size, (0.2, "#2a2230"), (0.6, "#1b1a26"), (1, "#0d1018")), (0, 0), person)
    for reach, colour, strength in ((46, "#e2703a", 0.55), (20, "#ffc98a", 0.9)):
        inside = ImageChops.offset(person, -reach, reach // 2).filter(ImageFilter.GaussianBlur(reach / 2.5))
        tint(image, ImageChops.multiply(person, ImageChops.invert(inside)), colour, strength)
    return grain(image, 0.06, 2)


def _person(draw: ImageDraw.ImageDraw) -> None:
    """A head with its hair in a bun, neck and shoulders."""
    draw.ellipse((690, 330, 910, 540), fill=255)
    draw.ellipse((570, 450, 1030, 1040), fill=255)
    body = [(_shoulder(y), y) for y in range(900, 2001, 10)]
    draw.polygon([(800 - half, y) for half, y in body] + [(800 + half, y) for half, y in reversed(body)], fill=255)


def _shoulder(y: float) -> float:
    """Half the width in px of neck and shoulders, at height `y`."""
    share = min(max((y - 1060) / 560, 0), 1)
    return 128.0 + 30 * share + 440 * math.pow(math.sin(math.pi / 2 * share), 2.6) + max(y - 1620, 0) * 0.22


def city() -> Image.Image:
    """1200 by 700 px: a skyline at night, mirrored in still water."""
    sky = ramp((2400, 960), (0, "#0a1030"), (0.55, "#27265f"), (0.85, "#6b4180"), (1, "#c46a78"))
    dice = random.Random(5)  # noqa: S311, a picture is no secret
    stars = ImageDraw.Draw(sky)
    for _ in range(260):
        x, y, size = dice.uniform(0, 2400), 700 * dice.random() ** 1.6, dice.choice((1, 1, 2, 3))
        stars.ellipse((x - size, y - size, x + size, y + size), fill=dice.choice(("#ffffff", "#c9d4ff", "#8f9bd6")))
    glow(sky, (560, 250), 380, "#cfd6ff", 0.5)
    stars.ellipse((490, 180, 630, 320), fill="#f7f3e3")
    for colour, lowest, highest, widest in (
        ("#4b3a78", 250, 480, 150),
        ("#2b2557", 150, 420, 180),
        ("#120f2e", 70, 320, 210),
    ):
        _buildings(sky, colour, (lowest, highest), widest, dice)
    return _mirrored(sky, 440)


def _buildings(image: Image.Image, colour: str, heights: tuple[int, int], widest: int, dice: random.Random) -> None:
    draw = ImageDraw.Draw(image)
    x = -dice.randrange(60)
    while x < image.width:
        width, height = dice.randrange(widest // 2, widest), dice.randrange(*heights)
        top = image.height - height
        draw.rectangle((x, top, x + width, image.height), fill=colour)
        if dice.randrange(4) == 0:
            draw.rectangle((x + width // 2 - 4, top - 90, x + width // 2 + 4, top), fill=colour)
        for left in range(x + 16, x + width - 20, 26):
            for row in range(top + 20, image.height - 30, 34):
                if dice.randrange(3) == 0:
                    lit = dice.choice(("#ffd98a", "#ffc46b", "#fff0c2", "#8fb8ff"))
                    draw.rectangle((left, row, left + 11, row + 16), fill=lit)
        x += width + dice.choice((0, 0, 6, 18))


def _mirrored(sky: Image.Image, depth: int) -> Image.Image:
    """`sky` with water of `depth` px below it."""
    image = Image.new("RGB", (sky.width, sky.height + depth))
    image.paste(sky)
    mirror = ImageOps.flip(sky).crop((0, 0, sky.width, depth * 2)).resize((sky.width, depth))
    mirror = mirror.resize((sky.width // 3, depth)).resize((sky.width, depth)).filter(ImageFilter.BoxBlur((2, 16)))
    ripples = clouds(mirror.size, (12, 90), 9).point(lambda value: max(value - 110, 0) * 0.7)
    mirror = Image.blend(mirror, ramp(mirror.size, (0, "#5a3b72"), (1, "#0a0e2a")), 0.45)
    mirror.paste("#080b22", (0, 0, *mirror.size), ripples)
    image.paste(mirror, (0, sky.height))
    ImageDraw.Draw(image).rectangle((0, sky.height - 5, sky.width, sky.height + 3), fill="#0b0a20")
    return image


def poster() -> Image.Image:
    """700 by 1000 px: quarter circles in five inks on paper, with the margin of a print."""
    image = Image.new("RGB", (1400, 2000), "#f1e7d3")
    draw = ImageDraw.Draw(image)
    dice = random.Random(14)  # noqa: S311, a picture is no secret
    inks = ("#d6452f", "#1f4e79", "#e8a82e", "#23303a", "#6fa39a")
    for column in range(4):
        for row in range(6):
            x, y = 100 + column * 300, 100 + row * 300
            ground, ink, dot = dice.sample(inks, 3)
            draw.rectangle((x, y, x + 299, y + 299), fill=ground)
            _motif(draw, (x, y), ink, dot, dice)
    return grain(image, 0.12, 3)


def _motif(draw: ImageDraw.ImageDraw, corner: tuple[int, int], ink: str, dot: str, dice: random.Random) -> None:
    x, y = corner
    turn = dice.randrange(4)
    hub = x + 300 * (turn % 2), y + 300 * (turn // 2)
    start = (0, 90, 270, 180)[turn]
    for radius, colour in dice.choice(
        (((300, ink),), ((300, ink), (150, dot)), ((300, ink), (200, "#f1e7d3"), (100, dot)))
    ):
        box = (hub[0] - radius, hub[1] - radius, hub[0] + radius - 1, hub[1] + radius - 1)
        draw.pieslice(box, start, start + 90, fill=colour)


def beach() -> Image.Image:
    """1000 by 750 px: a beach from above, three waves and some parasols."""
    image = sideways(
        (2000, 1500),
        (0, "#0c5a7d"),
        (0.22, "#14849c"),
        (0.42, "#3fb8b4"),
        (0.54, "#9fdccb"),
        (0.60, "#e6d3a7"),
        (0.72, "#f0dfb6"),
        (1, "#ecd6a6"),
    )
    tint(image, clouds(image.size, (10, 14), 6).point(lambda value: max(value - 130, 0)), "#ffffff", 0.16)
    for reach, height, seed, strength in ((520, 36, 31, 0.45), (790, 46, 32, 0.65), (1060, 52, 33, 0.95)):
        _wave(image, reach, height, seed, strength)
    dice = random.Random(4)  # noqa: S311, a picture is no secret
    for x, y in ((1400, 250), (1660, 470), (1420, 760), (1720, 980), (1480, 1240)):
        _parasol(
            image, (x, y), dice.choice(("#e4572e", "#2e86ab", "#f2a541", "#3d9970", "#d64573")), dice.uniform(0, 45)
        )
    return grain(image, 0.07, 4)


def _wave(image: Image.Image, reach: int, height: int, seed: int, strength: float) -> None:
    """Foam along a line from top to bottom around x = `reach`, fraying towards the sea."""
    line = [(x, y) for y, x in ridge(1500, reach, height, seed, 0.55)]
    for width, blur, share in ((120, 36, 0.4), (46, 9, 0.6), (18, 2, 1.0)):
        moved = [(x - width / 2, y) for x, y in line]
        foam = stencil(image.size, lambda draw, at=moved, wide=width: draw.line(at, fill=255, width=wide), blur)  # type: ignore[misc]
        tint(image, foam, "#ffffff", strength * share)


def _parasol(image: Image.Image, centre: tuple[int, int], colour: str, turn: float) -> None:
    x, y = centre
    radius = 105
    shadow(image, (x - radius + 46, y - radius + 40, x + radius + 46, y + radius + 40), 14, 0.35, "#5b4522")
    draw = ImageDraw.Draw(image)
    box = (x - radius, y - radius, x + radius, y + radius)
    for part in range(12):
        fill = colour if part % 2 else "#fff8ea"
        draw.pieslice(box, turn + part * 30, turn + part * 30 + 30, fill=fill)
    draw.ellipse((x - 9, y - 9, x + 9, y + 9), fill="#fffdf6")
