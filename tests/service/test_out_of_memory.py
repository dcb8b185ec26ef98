"""Memory that is short while an image is read: a problem that says so, whatever asked for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr.dicom import decode as dicom
from cxr.errors import ImageTooLargeError
from cxr.images import raster
from cxr.images.decoding import decode_image
from export.phantom import encode_dicom, encode_jpeg, encode_png
from service.dicom import source
from service.dicom.source import read_source
from service.images import preparation, rendering
from tests.conftest import REPOSITORY
from tests.service.harness import Running
from tests.service.make_images import make_dicom, make_jpeg, make_png
from tests.service.test_problems import PREDICT, verify_problem
from tests.service.test_v2 import INFER, make_request

RENDER = "/v1/render"

BOUNDED = """
import ctypes, json, resource, sys
from cxr.images.decoding import DecodeOptions, decode_image
from cxr.errors import CxrError

left = int(sys.argv[1])
files = [open(path, "rb").read() for path in sys.argv[2:]]
for file in files:  # what is imported or built once is there
    decode_image(file)
ctypes.CDLL(None).malloc_trim(0)
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + left, taken + left))
told = []
for file in files:
    try:
        decode_image(file, DecodeOptions(reduce_to_px=0))
        told.append("read")
    except CxrError as error:
        told.append(str(error))
print(json.dumps(told))
"""


def exhausted(*_: Any, **__: Any) -> Any:
    raise MemoryError("Doe^Jane")


CAUSES = {
    "values": (dicom, "stored_values", make_dicom),
    "grey levels": (dicom, "render_gray", make_dicom),
    "header": (dicom.DicomFile, "header", make_dicom),
    "jpeg": (raster.Image, "open", make_jpeg),
    "png": (raster, "decode_png", make_png),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_exhausted_memory_is_told(cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an image that is too large, not of one that is corrupt."""
    owner, name, make = CAUSES[cause]
    monkeypatch.setattr(owner, name, exhausted)
    with pytest.raises(ImageTooLargeError, match="not enough memory"):
        decode_image(make())


def test_header_for_results_is_not_called_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What results take over is read by itself."""
    monkeypatch.setattr(source, "_sanitise", exhausted)
    with pytest.raises(ImageTooLargeError, match="not enough memory"):
        read_source(make_dicom())


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_process_that_has_no_more_memory_tells_it(tmp_path: Path) -> None:
    """Of real decoders, and goes on."""
    image = np.tile(np.arange(256, dtype=np.uint8), (3000, 12))
    files = {"dicom": encode_dicom(image), "jpeg": encode_jpeg(image), "png": encode_png(image)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    paths = [str(tmp_path / name) for name in files]
    command = [sys.executable, "-c", BOUNDED, str(4 << 20), *paths]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert all("not enough memory" in one for one in told), told


@pytest.mark.anyio
@pytest.mark.parametrize("path", [PREDICT, RENDER, INFER])
async def test_answer_is_413(path: str, service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every way in."""
    for module in (preparation, rendering):
        monkeypatch.setattr(module, "decode_image", exhausted)
    body = {"json": make_request(make_png())} if path == INFER else {"content": make_png()}
    response = await service.client.post(path, **body)
    if path == INFER:
        assert response.status_code == 413
    else:
        verify_problem(response, 413, "payload-too-large")
    assert "not enough memory" in response.text
    assert "Jane" not in response.text


@pytest.mark.anyio
async def test_one_of_many_fails_alone(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are answered."""
    decode = preparation.decode_image
    monkeypatch.setattr(
        preparation,
        "decode_image",
        lambda data, options: exhausted() if data == b"large" else decode(data, options),
    )
    files = [("files", b"large"), ("files", make_png())]
    first, second = (await service.client.post(PREDICT, files=files)).json()["results"]
    assert first["problem"]["status"] == 413
    assert second["status"] == "ok"


@pytest.mark.anyio
async def test_picture_that_cannot_be_made_is_413(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes behind the decoder is of the image's size, too."""
    file = make_png()
    monkeypatch.setattr(Image, "fromarray", exhausted)
    response = await service.client.post(RENDER, content=file)
    verify_problem(response, 413, "payload-too-large")
    assert "Jane" not in response.text
