"""Malformed files: a refusal each, in bounded memory, and nothing in the logs."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame

from cxr.errors import (
    CxrError,
    ImageTooLargeError,
    InputError,
    UnreadableImageError,
    UnsupportedMediaError,
)
from cxr.images.decoding import decode_image
from export.phantom import draw_phantom, encode_dicom
from tests.conftest import REPOSITORY
from tests.cxr.dicom_encodings import CODECS, LOSSY, NATIVE, Edit, edited
from tests.cxr.dicom_encodings import in_syntax as in_syntax_of
from tests.fuzz import read_inputs
from tests.fuzzing.damaged import DAMAGED

PHANTOM = draw_phantom(5)[:256, :256]
FRAMES: dict[str, tuple[Edit, ...]] = {**{n: (e,) for n, e in CODECS.items()}, **LOSSY}
FILES: dict[str, tuple[Edit, ...]] = {
    **FRAMES,
    **{name: (in_syntax_of(uid),) for name, uid in NATIVE.items()},
}

BOMB = """
import sys, resource
from cxr.images.decoding import decode_image
from cxr.errors import CxrError
held = 1 << 30  # beside what the imports took
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + held, taken + held))
for path in sys.argv[1:]:
    try:
        decode_image(open(path, "rb").read())
        print("read")
    except CxrError as error:
        print(type(error).__name__)
"""


def run_bounded(paths: list[Path]) -> list[str]:
    """Read files in a process that may take 1 GB; give what became of each."""
    done = subprocess.run(
        [sys.executable, "-c", BOMB, *map(str, paths)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("kept", [0.01, 0.25, 0.5, 0.75, 0.95, 0.999])
def test_frame_cut_short_in_a_whole_file_is_refused(name: str, kept: float) -> None:
    """Also by decoders that would fill in the rest."""

    def cut(ds: Dataset) -> None:
        frame = get_frame(ds.PixelData, 0, number_of_frames=1)
        ds.PixelData = encapsulate([frame[: int(len(frame) * kept)]])

    with pytest.raises(UnreadableImageError):
        decode_image(edited(PHANTOM, *FRAMES[name], cut))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0.005, 0.02, 0.1, 0.5, 0.9, 0.99])
def test_file_cut_short_is_refused(name: str, kept: float) -> None:
    """Wherever it was cut."""
    data = edited(PHANTOM, *FILES[name])
    with pytest.raises(InputError):
        decode_image(data[: max(int(len(data) * kept), 200)])


def test_file_without_preamble_is_no_dicom() -> None:
    """It is named as what it is not."""
    with pytest.raises(UnsupportedMediaError):
        decode_image(encode_dicom(PHANTOM)[132:])


@pytest.mark.parametrize("explicit_length", [True, False])
def test_deep_nesting_is_read_or_refused(explicit_length: bool) -> None:
    """A thousand sequences in one another end no process."""
    inner = b""
    for _ in range(3000):
        if explicit_length:
            item = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
            inner = b"\x08\x00\x15\x11SQ\0\0" + len(item).to_bytes(4, "little") + item
        else:
            inner = (
                b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
                + inner
                + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
            )
    plain = encode_dicom(PHANTOM)
    at = plain.index(b"\x08\x00\x60\x00CS")
    try:
        assert decode_image(plain[:at] + inner + plain[at:]).pixels.shape == PHANTOM.shape
    except CxrError as error:
        assert isinstance(error, ImageTooLargeError)  # noqa: PT017


def with_frame_size(marker: bytes, offset: int, size: bytes) -> Edit:
    """Let a codestream declare another size."""

    def edit(ds: Dataset) -> None:
        frame = bytearray(get_frame(ds.PixelData, 0, number_of_frames=1))
        at = frame.index(marker) + offset
        frame[at : at + len(size)] = size
        ds.PixelData = encapsulate([bytes(frame)])

    return edit


def declared_huge(ds: Dataset) -> None:
    """Rows and Columns alone."""
    ds.Rows = ds.Columns = 65535


HUGE = {
    **{name: (*edits, declared_huge) for name, edits in FILES.items()},
    "size of a jpeg": (*LOSSY["jpeg baseline"], with_frame_size(b"\xff\xc0", 5, b"\xff" * 4)),
    "size of a 12-bit jpeg": (
        *LOSSY["jpeg extended, 12 bits"],
        with_frame_size(b"\xff\xc1", 5, b"\xff" * 4),
    ),
    "size of a lossless jpeg": (
        CODECS["jpeg lossless sv1"],
        with_frame_size(b"\xff\xc3", 5, b"\xff" * 4),
    ),
    "size of a jpeg-ls": (CODECS["jpeg-ls"], with_frame_size(b"\xff\xf7", 5, b"\xff" * 4)),
    "size of a jpeg 2000": (
        CODECS["jpeg 2000 lossless"],
        with_frame_size(b"\xff\x51", 6, b"\x00\xff\xff\xff" * 2),
    ),
    "size of a htj2k": (
        CODECS["htj2k lossless"],
        with_frame_size(b"\xff\x51", 6, b"\x00\xff\xff\xff" * 2),
    ),
    "tiles of a jpeg 2000": (
        CODECS["jpeg 2000 lossless"],
        with_frame_size(b"\xff\x51", 22, b"\0\0\0\1" * 2),
    ),
    "precincts of a jpeg 2000": (
        CODECS["jpeg 2000 lossless"],
        with_frame_size(b"\xff\x52", 4, b"\1"),
    ),
}


def test_huge_declarations_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    """Small files that declare billions of pixels, in the dataset or in the frame's own header."""
    paths = []
    for number, edits in enumerate(HUGE.values()):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(edited(PHANTOM, *edits))
    found = run_bounded(paths)
    assert set(found) <= {"ImageTooLargeError", "UnreadableImageError"}
    assert len(found) == len(HUGE)


def test_tiles_are_counted_before_they_are_allocated() -> None:
    """Each costs a decoder kilobytes."""
    with pytest.raises(ImageTooLargeError, match="tiles"):
        decode_image(edited(PHANTOM, *HUGE["tiles of a jpeg 2000"]))


def test_shared_odd_files_are_read_or_refused_in_bounded_memory(shared_data: Path) -> None:
    """Radiographs of other parts are read, the rest is refused, each for its reason."""
    expected = {
        "CR-ModalitySequenceLUT.dcm": "read",
        "DummyCTInvalidRows.dcm": "UnsupportedDicomError",
        "Issue22-NoPixelData.dcm": "UnsupportedDicomError",
        "RG2_JLSL.dcm": "read",
        "RG3_J2KR.dcm": "read",
        "RG3_JPLL.dcm": "read",
        "RG3_RLE.dcm": "read",
        "_voilut8jpg.dcm": "read",
        "sample-pdf.dcm": "UnsupportedDicomError",
    }
    folder = shared_data / "dicom" / "other"
    assert {path.name for path in folder.glob("*.dcm")} == set(expected)
    assert run_bounded([folder / name for name in expected]) == list(expected.values())


def test_one_shared_slice_is_the_same_in_every_transfer_syntax(shared_data: Path) -> None:
    """All of a modality's encodings by other programs are read; multi-frame files are not."""
    for path in sorted((shared_data / "dicom" / "formats").glob("*.dcm")):
        if path.name == "MultiframeWindowing.dcm":
            with pytest.raises(InputError, match="4 frames"):
                decode_image(path.read_bytes())
        else:
            assert decode_image(path.read_bytes()).pixels.shape[0] >= 2, path.name


@pytest.mark.parametrize("first", range(0, 3000, 750))
def test_damaged_files_raise_nothing_but_our_errors(
    first: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The short form of ``make fuzz``."""
    with caplog.at_level(logging.INFO):
        read = read_inputs(DAMAGED, 750, first)
    assert 0 < read < 750
    assert caplog.records == []
