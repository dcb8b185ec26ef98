"""What /v1/render answers."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.service.harness import Running
from tests.service.make_images import make_dicom, make_jpeg, make_pixels, make_png
from tests.service.test_problems import verify_problem

pytestmark = pytest.mark.anyio

RENDER = "/v1/render"
RAMP = make_pixels()  # grey levels 88 to 168, the same in each row


def make_deep_dicom(**attributes: Any) -> bytes:
    """A 16-bit object whose values are 100 times those of the ramp."""
    deep = {"BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
    pixels = (RAMP.astype(np.uint16) * 100).tobytes()
    window = {"WindowCenter": "12800", "WindowWidth": "25600"}
    return make_dicom(**(deep | window | {"PixelData": pixels} | attributes))


def pixels_of(response: httpx.Response) -> NDArray[np.uint8]:
    """Give the picture of a JSON answer."""
    assert response.status_code == 200, response.text
    with Image.open(io.BytesIO(base64.b64decode(response.json()["png"]))) as picture:
        assert (picture.format, picture.mode) == ("PNG", "L")
        return np.asarray(picture)


async def render(service: Running, file: bytes, **query: Any) -> httpx.Response:
    return await service.client.post(RENDER, content=file, params=query)


@pytest.mark.parametrize("make", [make_png, make_dicom], ids=["png", "dicom"])
async def test_picture_is_what_the_model_sees(service: Running, make: Any) -> None:
    """Without a window of its own the picture has the decoder's grey levels."""
    response = await render(service, make())
    assert np.array_equal(pixels_of(response), RAMP)
    answer = response.json()
    assert (answer["width"], answer["height"]) == (96, 96)
    assert answer["request_id"] == response.headers["x-request-id"]
    if make is make_png:
        assert answer["window"] is answer["range"] is None


async def test_window_and_range_are_in_modality_units(service: Running) -> None:
    """After the rescale, as viewers show them."""
    file = make_dicom(RescaleSlope="2", RescaleIntercept="-100", WindowCenter="156")
    answer = (await render(service, file)).json()
    assert answer["window"] == {"center": 156.0, "width": 256.0, "function": "LINEAR"}
    assert answer["range"] == {"low": 88 * 2 - 100.0, "high": 168 * 2 - 100.0}


async def test_window_is_applied_to_sixteen_bits(service: Running) -> None:
    """Values below the window are black, above it white, its centre is middle grey."""
    file = make_deep_dicom()
    assert np.abs(pixels_of(await render(service, file)).astype(int) - RAMP).max() <= 1
    response = await render(service, file, window_center=12800, window_width=2000)
    expected = np.clip((RAMP * 100.0 - 12799.5) / 1999 + 0.5, 0, 1) * 255
    assert np.abs(pixels_of(response) - expected).max() <= 1
    assert response.json()["window"] == {"center": 12800, "width": 2000, "function": "LINEAR"}


async def test_monochrome1_keeps_bone_bright_through_any_window(service: Running) -> None:
    """Inversion comes last, after the window."""
    file = make_deep_dicom(PhotometricInterpretation="MONOCHROME1")
    ordinary = pixels_of(await render(service, make_deep_dicom(), window_center=9, window_width=9))
    assert ordinary.min() == 255
    row = pixels_of(await render(service, file, window_center=12800, window_width=2000))[0]
    assert (row[0], row[-1]) == (255, 0)
    assert (np.diff(row.astype(int)) <= 0).all()


async def test_chosen_window_takes_the_function_of_the_object(service: Running) -> None:
    """It is how its values are meant to be shown; a width LINEAR cannot have is taken exactly."""
    file = make_deep_dicom(VOILUTFunction="SIGMOID")
    response = await render(service, file, window_center=12800, window_width=10)
    assert response.json()["window"]["function"] == "SIGMOID"
    assert set(np.unique(pixels_of(response))) <= {0, 128, 255}
    narrow = await render(service, make_deep_dicom(), window_center=12800, window_width=0.5)
    assert narrow.json()["window"]["function"] == "LINEAR_EXACT"


async def test_whole_range_is_no_window(service: Running) -> None:
    """An object without a window says so, and gives the range it was shown by."""
    answer = (await render(service, make_dicom(WindowCenter=None, WindowWidth=None))).json()
    assert answer["window"] is None
    assert answer["range"] == {"low": 88.0, "high": 168.0}


@pytest.mark.parametrize("kind", [make_jpeg, make_dicom], ids=["jpeg", "dicom"])
async def test_longest_side_is_bounded(service: Running, kind: Any) -> None:
    """Large images shrink in proportion, small ones keep their size."""
    size = {"Columns": 192} if kind is make_dicom else {"width": 192}
    if kind is make_dicom:
        size |= {"PixelData": make_pixels(width=192).tobytes()}
    assert pixels_of(await render(service, kind(**size), max_side=64)).shape == (32, 64)
    assert pixels_of(await render(service, kind(**size))).shape == (96, 192)


async def test_accept_png_gives_the_picture_itself(service: Running) -> None:
    """What a viewer can show without unpacking."""
    headers = {"Accept": "image/png"}
    response = await service.client.post(RENDER, content=make_dicom(), headers=headers)
    assert response.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(response.content)) as picture:
        assert np.array_equal(np.asarray(picture), RAMP)


async def test_nothing_of_the_patient_is_answered(service: Running) -> None:
    """Neither in the members nor in the file."""
    response = await render(service, make_dicom())
    text = response.text + base64.b64decode(response.json()["png"]).decode("latin-1")
    assert "CANARY" not in text.upper()


@pytest.mark.parametrize("way", ["multipart", "json"])
async def test_other_ways_to_send_one_image(service: Running, way: str) -> None:
    """The input forms are those of /v1/predict, with one image."""
    file = make_dicom()
    encoded = base64.b64encode(file).decode()
    sent: dict[str, Any] = (
        {"files": {"files": file}}
        if way == "multipart"
        else {"json": {"images": [{"data": encoded}]}}
    )
    response = await service.client.post(RENDER, **sent)
    assert np.array_equal(pixels_of(response), RAMP)


@pytest.mark.parametrize(
    ("query", "file"),
    [
        ({"window_center": 1}, make_dicom()),
        ({"window_width": 1}, make_dicom()),
        ({"window_center": 1, "window_width": 0}, make_dicom()),
        ({"window_center": "nan", "window_width": 1}, make_dicom()),
        ({"window_center": 1, "window_width": "inf"}, make_dicom()),
        ({"max_side": 63}, make_dicom()),
        ({"max_side": 2049}, make_dicom()),
        ({"model": "cnn"}, make_dicom()),
        ({"window_center": 1, "window_width": 1}, make_png()),
        ({"window_center": 1, "window_width": 1}, make_jpeg()),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
async def test_wrong_parameters_are_refused(service: Running, query: Any, file: bytes) -> None:
    """Half a window, an impossible one, one for a picture without values, an odd size."""
    verify_problem(await render(service, file, **query), 400, "invalid-request")


async def test_two_images_are_refused(service: Running) -> None:
    """A picture is of one image."""
    response = await service.client.post(RENDER, files=[("files", make_png())] * 2)
    problem = verify_problem(response, 400, "invalid-request")
    assert "one at a time" in problem["detail"]


@pytest.mark.parametrize(
    ("file", "status", "slug"),
    [
        (b"text " * 99, 415, "unsupported-media"),
        (make_dicom()[:-500], 422, "unreadable-image"),
        (make_dicom(Rows=65535, Columns=65535), 413, "payload-too-large"),
    ],
    ids=["text", "cut", "bomb"],
)
async def test_bad_images_are_the_problems_of_predict(
    service: Running, file: bytes, status: int, slug: str
) -> None:
    """The same table answers."""
    verify_problem(await render(service, file), status, slug)
