"""Pictures of heatmaps."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageFont

from cxr.explain.overlay import (
    BACKGROUND,
    EMPTY,
    FLAT,
    INFERNO,
    Caption,
    blend,
    break_line,
    colourise,
    enlarge,
    heatmap_warnings,
    render_heatmap_png,
    render_overlay,
    to_picture,
)
from cxr.explain.png_writer import write_palette_png, write_png

LIKELY = "Signs of pneumonia: likely"
CAPTION = Caption("resnet18", "1.0.0", "PNEUMONIA", 0.973, "gradcam", LIKELY)
LONG = Caption("m" * 64, "10.20.30", "Pneumonia " * 9 + "W" * 90, 0.1, "gradcam_plus_plus", LIKELY)

SIZES = {
    "square": (224, 224),
    "landscape": (1200, 700),
    "portrait": (700, 1200),
    "large": (3000, 2400),
    "small": (90, 64),
    "very wide": (900, 70),
    "very narrow": (70, 900),
}


def make_image(width: int, height: int) -> NDArray[np.uint8]:
    """Make a radiograph of random grey levels."""
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


def make_heatmap() -> NDArray[np.float32]:
    """Make a heatmap from 0 to 1 with one hot corner."""
    heatmap = np.zeros((7, 7), dtype=np.float32)
    heatmap[0, 0] = 1.0
    return heatmap


def pixels_of(png: bytes) -> NDArray[np.uint8]:
    """Read a PNG file."""
    return np.asarray(Image.open(io.BytesIO(png)))


def test_colours_are_matplotlibs_inferno() -> None:
    """The map is the published one, step by step."""
    values = np.linspace(0.0, 1.0, 256)
    expected = np.rint(colormaps["inferno"](values)[:, :3] * 255)
    assert np.array_equal(colourise(values), expected)
    assert np.array_equal(colourise(np.array([-1.0, 2.0])), INFERNO[[0, 255]])


def test_lightness_grows_evenly() -> None:
    """The map is perceptually uniform: no step of lightness is much larger than another."""
    linear = (INFERNO / 255.0) ** 2.2
    lightness = np.cbrt(linear @ [0.2126, 0.7152, 0.0722])
    steps = np.diff(lightness[16:])  # the very dark end suffers from rounding to bytes
    assert steps.min() > -1e-3
    assert steps.max() < 4 * steps.mean()


@pytest.mark.parametrize(("width", "height"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("caption", [CAPTION, LONG], ids=["short", "long"])
def test_picture_keeps_the_aspect_ratio_and_holds_no_text(
    width: int, height: int, caption: Caption
) -> None:
    """The upper left part is the blend, at the source's aspect ratio; all else lies outside."""
    image, heatmap = make_image(width, height), make_heatmap()
    shown = to_picture(image, width, height)
    rows, columns = shown.shape
    canvas = render_overlay(image, heatmap, caption, 0.5)
    assert 512 <= max(rows, columns) <= 1024
    assert abs(columns - width * rows / height) <= max(1.0, width / height)
    assert np.array_equal(canvas[:rows, :columns], blend(shown, heatmap, 0.5))
    assert (canvas[:rows, columns:] == BACKGROUND).all()
    assert len(canvas) >= rows + 100
    # Nothing runs over an edge: the frame of the strip is background, its inside is not.
    strip = canvas[rows:]
    for edge in (strip[-3:], strip[:, :3], strip[:, -3:], strip[:3]):
        assert (edge == BACKGROUND).all()
    assert (strip != BACKGROUND).any()


def test_longer_captions_take_more_room() -> None:
    """A long class name is broken into lines, not cut."""
    image = make_image(512, 512)
    short, long = (render_overlay(image, make_heatmap(), caption) for caption in (CAPTION, LONG))
    assert len(long) > len(short)


@pytest.mark.parametrize("width", [60, 200, 700])
def test_broken_lines_fit_and_lose_nothing(width: int) -> None:
    """Every part is narrow enough, and together they are the whole text."""
    font, text = ImageFont.load_default(16), LONG.lines[1]
    parts = break_line(text, font, width)
    assert all(0 < font.getlength(part) <= width for part in parts)
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")


def test_caption_says_what_it_shows() -> None:
    """Model, version, class, probability, method, and what it may be used for."""
    text = " ".join(CAPTION.lines)
    for part in (LIKELY, "resnet18", "1.0.0", "PNEUMONIA", "0.973", "gradcam", "Research use only"):
        assert part in text
    assert "It is no chest." in replace(CAPTION, remarks=("It is no chest.",)).lines


@pytest.mark.parametrize(("width", "height"), SIZES.values(), ids=SIZES)
def test_picture_without_heatmap_is_the_radiograph(width: int, height: int) -> None:
    """Grey above, and below neither a colour bar nor a class nor a number."""
    image = make_image(width, height)
    shown = to_picture(image, width, height)
    canvas = render_overlay(image, None, replace(CAPTION, remarks=("It is no chest.",)))
    rows, columns = shown.shape
    assert np.array_equal(canvas[:rows, :columns], np.dstack([shown] * 3))
    assert np.ptp(canvas[rows:].astype(int), axis=2).max() <= 3  # the ground is nearly grey
    text = " ".join(CAPTION.plain_lines)
    assert "PNEUMONIA" not in text
    assert "0.973" not in text


def test_reduced_decoding_keeps_the_sources_shape() -> None:
    """An image decoded at a reduced, rounded scale is shown at the aspect ratio of its file."""
    assert to_picture(make_image(376, 250), 3001, 1999).shape == (341, 512)
    picture = to_picture(make_image(2000, 1000), 2000, 1000)
    assert picture.shape == (512, 1024)
    assert to_picture(picture, 2000, 1000) is picture


def test_flat_heatmap_stays_flat() -> None:
    """No tiny difference is stretched into a hot spot, and a sentence says what it is."""
    flat = np.full((7, 7), 0.5, dtype=np.float32)
    flat[3, 3] = 0.52
    shown = blend(np.full((512, 512), 100, dtype=np.uint8), flat, 1.0).astype(int)
    assert np.ptp(shown.reshape(-1, 3), axis=0).max() < 12
    assert heatmap_warnings(flat) == (FLAT,)
    assert heatmap_warnings(make_heatmap()) == ()


def test_empty_heatmap_draws_nothing() -> None:
    """Where nothing speaks for the class, the radiograph is shown as it is."""
    image, empty = make_image(600, 600), np.zeros((7, 7), dtype=np.float32)
    assert np.array_equal(blend(image, empty, 1.0), np.dstack([image] * 3))
    assert not pixels_of(render_heatmap_png(empty, 600, 600)).any()  # transparent everywhere
    assert heatmap_warnings(empty) == (EMPTY,)


def test_cold_places_show_the_plain_radiograph() -> None:
    """Opacity is the value's: far from the hot corner nothing is tinted."""
    image = make_image(700, 700)
    shown = blend(image, make_heatmap(), 0.9)
    assert np.array_equal(shown[350:, 350:], np.dstack([image[350:, 350:]] * 3))
    assert (shown[0, 0] != image[0, 0]).any()


def test_enlarging_puts_values_at_the_centres_of_cells() -> None:
    """Cell (0, 1) of 2 x 2 is the upper right quarter, and nothing exceeds the values."""
    enlarged = enlarge(np.array([[0, 1], [0, 0]], dtype=np.float32), 100, 60)
    assert enlarged.shape == (60, 100)
    assert np.unravel_index(enlarged.argmax(), enlarged.shape)[0] < 30
    assert enlarged[15, 75] == pytest.approx(0.98, abs=0.03)
    assert enlarged.max() == 1.0
    assert enlarged.min() == 0.0


@pytest.mark.parametrize(("width", "height"), SIZES.values(), ids=SIZES)
def test_heatmap_alone_has_the_value_as_opacity(width: int, height: int) -> None:
    """A page lays it over the radiograph: same aspect ratio, colours of the map."""
    picture = Image.open(io.BytesIO(render_heatmap_png(make_heatmap(), width, height)))
    assert picture.mode == "P"  # a quarter of the bytes
    pixels = np.asarray(picture.convert("RGBA"))
    rows, columns = pixels.shape[:2]
    assert abs(columns - width * rows / height) <= max(1.0, width / height)
    assert pixels[0, 0].tolist() == [*INFERNO[255], 255]
    assert pixels[-1, -1, 3] == 0


def test_pictures_need_no_torch_and_no_matplotlib() -> None:
    """Whoever draws only need not load what computes."""
    code = "import sys, cxr.explain.overlay; print({'torch', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (97, 64), (512, 777)])
def test_png_files_hold_the_pixels(shape: tuple[int, int]) -> None:
    """Whatever was compressed side by side, any reader gets it back, and the palette's opacity."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(pixels_of(write_png(pixels)), pixels)
    places = pixels[..., 0]
    opacity = np.arange(255, -1, -1, dtype=np.uint8)
    picture = Image.open(io.BytesIO(write_palette_png(places, INFERNO, opacity)))
    seen = np.asarray(picture.convert("RGBA"))
    assert np.array_equal(seen[..., :3], INFERNO[places])
    assert np.array_equal(seen[..., 3], opacity[places])
