"""The same picture encoded by dcmtk: encoders that are not the library we decode with."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.cxr.dicom_encodings import (
    Encoding,
    colour,
    eight_bits,
    in_bits,
    inverted,
    pixels_of,
    signed,
)


def run_dcmtk(program: str, *options: str, source: bytes) -> bytes:
    """Give what a program of dcmtk makes of a file; skip the test without it."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is absent (Debian: apt-get install dcmtk)")
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before", Path(folder) / "after"
        before.write_bytes(source)
        command = [program, *options, str(before), str(after)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        return after.read_bytes()


def by(program: str, *options: str) -> Callable[[bytes], bytes]:
    """Encode a DICOM file."""
    return lambda data: run_dcmtk(program, *options, source=data)


def from_image(kind: str, *options: str) -> Callable[[bytes], bytes]:
    """Have a secondary capture made of a picture in a common format."""

    def convert(data: bytes) -> bytes:
        gray = pixels_of(pydicom.dcmread(io.BytesIO(data))) >> 4
        buffer = io.BytesIO()
        Image.fromarray(gray.astype(np.uint8)).save(buffer, kind, quality=95)
        return run_dcmtk("img2dcm", "-i", kind, *options, source=buffer.getvalue())

    return convert


LOSSLESS = {
    "implicit": by("dcmconv", "+ti"),
    "big endian": by("dcmconv", "+tb"),
    "deflated": by("dcmconv", "+td"),
    "undefined lengths": by("dcmconv", "--write-xfer-little", "-e"),
    "rle": by("dcmcrle"),
    "rle in fragments": by("dcmcrle", "+fs", "20"),
    "jpeg lossless sv1": by("dcmcjpeg", "+e1"),
    "jpeg lossless process 14": by("dcmcjpeg", "+el", "+sv", "6"),
    "jpeg lossless in fragments": by("dcmcjpeg", "+e1", "+fs", "20"),
    "jpeg-ls": by("dcmcjpls"),
}

WINDOW = ("-k", "WindowCenter=128", "-k", "WindowWidth=256")
"""The identity on 8 bits: an object without any VOI is shown by the range of its values."""

ENCODINGS = (
    *(Encoding(f"dcmtk {name}", (), 0.01, convert) for name, convert in LOSSLESS.items()),
    *(Encoding(f"dcmtk {name}, signed", (signed,), 0.01, LOSSLESS[name]) for name in LOSSLESS),
    *(Encoding(f"dcmtk {n}, 16 bits", (in_bits(16),), 0.01, LOSSLESS[n]) for n in LOSSLESS),
    Encoding("dcmtk jpeg-ls of 12 bits", (), 0.01, by("dcmcjpls", "+pc")),
    Encoding("dcmtk rle, monochrome1", (inverted,), 0.01, by("dcmcrle")),
    Encoding("dcmtk rle, 8 bits", (eight_bits,), 0.01, by("dcmcrle")),
    Encoding("dcmtk rle in rgb", (colour(),), 0.01, by("dcmcrle")),
    Encoding("dcmtk jpeg lossless in rgb", (colour(),), 0.01, by("dcmcjpeg", "+e1")),
    Encoding("dcmtk jpeg-ls in rgb", (colour(),), 0.01, by("dcmcjpls")),
    Encoding("dcmtk jpeg-ls near", (), 0.03, by("dcmcjpls", "+en", "+md", "8")),
    Encoding("dcmtk jpeg baseline", (eight_bits,), 0.03, by("dcmcjpeg", "+eb", "+q", "95")),
    Encoding("dcmtk jpeg baseline in colour", (colour(),), 0.03, by("dcmcjpeg", "+eb", "+q", "95")),
    Encoding("dcmtk jpeg extended, 12 bits", (), 0.03, by("dcmcjpeg", "+ee")),
    Encoding("dcmtk jpeg spectral selection", (), 0.03, by("dcmcjpeg", "+es")),
    Encoding("dcmtk jpeg full progression", (), 0.03, by("dcmcjpeg", "+ep")),
    Encoding("dcmtk capture of a jpeg", (), 0.03, from_image("JPEG", *WINDOW)),
    Encoding("dcmtk capture of a bmp", (), 0.01, from_image("BMP", *WINDOW)),
)
