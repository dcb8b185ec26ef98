"""What a DICOM file may hold beside its pixels, and what it costs to find out."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest

from cxr.dicom.bounds import MAX_DEPTH, MAX_ELEMENTS, MAX_ITEMS, MAX_NUMBERS, MAX_TEXTS
from cxr.dicom.part10 import DicomFile
from cxr.dicom.structure import Walk
from cxr.errors import CxrError, ImageTooLargeError
from cxr.images.decoding import SNIFF_BYTES, decode_image, sniff_format
from service.dicom.source import read_source
from tests.cost import cost_of
from tests.cxr.dicom_encodings import ENCODINGS
from tests.fuzzing.damaged import damage
from tests.hostile import (
    DICOM_BOMBS,
    EXPLICIT,
    SYNTAXES,
    deflate_bomb,
    dicom_bomb,
    dicom_file,
    file_meta,
    fragment_bomb,
)

CPU_S, MEMORY_BYTES = 0.1, 64 << 20
ENOUGH = 60_000
"""Of anything takes a reader without bounds far longer than ``CPU_S``."""


def refused(data: bytes) -> None:
    """See that both readers of the service refuse a file, naming the bound, and at what cost."""

    def read() -> None:
        for reader in (decode_image, read_source):
            with pytest.raises(ImageTooLargeError, match=r"holds (more than|an? |sequences)"):
                reader(data)

    cost = cost_of(read)
    assert cost.cpu_s < 2 * CPU_S
    assert cost.peak_bytes < MEMORY_BYTES


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("name", DICOM_BOMBS)
def test_bomb_is_refused_at_little_cost(name: str, syntax: str) -> None:
    """Before an object is made of it, in every encoding."""
    count = DICOM_BOMBS[name][1] if "values" in name or "numbers" in name else ENOUGH
    refused(dicom_bomb(name, SYNTAXES[syntax], count))


def test_bomb_in_the_file_meta_group_is_refused() -> None:
    """It is counted as the data set is."""
    data = dicom_file()
    at = data.index(b"\x02\x00\x10\x00UI")
    refused(data[:at] + EXPLICIT.element(0x00020016, "AE") * ENOUGH + data[at:])


LIMITS = {
    "plain elements": MAX_ELEMENTS - 15,  # beside those of a sound file
    "empty items": MAX_ITEMS,
    "empty items of defined length": MAX_ITEMS,
    "private items": MAX_ITEMS,
    "nested items": MAX_DEPTH,
    "window values": MAX_TEXTS,
    "numbers": MAX_NUMBERS,
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("name", LIMITS)
def test_as_many_as_allowed_are_read_and_one_more_is_refused(name: str, syntax: str) -> None:
    """The bounds are those that are documented."""
    encoding = SYNTAXES[syntax]
    assert decode_image(dicom_bomb(name, encoding, LIMITS[name])).pixels.shape == (64, 64)
    with pytest.raises(ImageTooLargeError):
        decode_image(dicom_bomb(name, encoding, LIMITS[name] + 1))


@pytest.mark.parametrize("tag", [0x00091010, 0x00880200])
def test_long_header_is_refused(tag: int) -> None:
    """Also in one element, which the parser would copy."""
    refused(dicom_file(extra=EXPLICIT.element(tag, "OB", bytes(40 << 20))))
    refused(dicom_file(SYNTAXES["deflated"], EXPLICIT.element(tag, "OB", bytes(40 << 20))))


def test_private_values_are_never_counted() -> None:
    """Nothing reads them, and makers of detectors put tables there."""
    table = EXPLICIT.element(0x00091010, "UC", b"1\\" * (MAX_TEXTS + 1))
    assert decode_image(dicom_file(extra=table)).pixels.shape == (64, 64)


def test_fragments_are_bounded() -> None:
    """One frame has one, or a few."""
    data = fragment_bomb(ENOUGH)

    def read() -> None:
        with pytest.raises(ImageTooLargeError, match="fragments"):
            decode_image(data)

    assert cost_of(read).cpu_s < CPU_S


def test_pixel_data_beyond_the_image_are_not_inflated() -> None:
    """As many are as rows and columns say."""
    data = deflate_bomb(100 << 20)
    cost = cost_of(lambda: decode_image(data))
    assert cost.cpu_s < CPU_S
    assert cost.peak_bytes < 8 << 20


def test_walk_counts_all_that_pydicom_makes() -> None:
    """Whatever is wrong with a file, no element or item is made that was not counted."""
    image = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    extra = b"".join(make(EXPLICIT, 3) for make, _ in DICOM_BOMBS.values())
    seeds = [*(one.encode(image) for one in ENCODINGS[:12]), dicom_file(extra=extra)]
    for number in range(2000):
        data = damage(seeds[number % len(seeds)], np.random.default_rng(number))
        try:
            file = DicomFile(data)
            made = made_of(file.header())
        except (CxrError, OSError, ValueError, NotImplementedError, EOFError, struct.error):
            continue
        counted = counts_of(file)
        assert made[0] <= counted[0]
        assert made[1] <= counted[1]


def made_of(ds: pydicom.Dataset) -> tuple[int, int]:
    """Elements and items of a data set that exist without its values being touched."""
    elements, items = len(ds._dict), 0
    for element in ds._dict.values():
        if isinstance(element, pydicom.DataElement) and element.VR == "SQ":
            inner = [made_of(item) for item in element.value]
            elements += sum(one[0] for one in inner)
            items += len(inner) + sum(one[1] for one in inner)
    return elements, items


def counts_of(file: DicomFile) -> tuple[int, int]:
    walk: Walk = file._walk
    return walk.elements, walk.items


def test_no_shared_file_is_near_a_bound(shared_data: Path) -> None:
    """Real objects, also those that are no radiographs, have a fraction of what is allowed."""
    read = 0
    for path in shared_data.rglob("*.dcm"):
        data = path.read_bytes()
        if sniff_format(data[:SNIFF_BYTES]) == "dicom":
            elements, items = counts_of(DicomFile(data))
            assert elements < MAX_ELEMENTS / 5
            assert items < MAX_ITEMS / 20
            read += 1
    assert read > 20


@pytest.mark.parametrize("group_length", [-1, 0, None, 7, 70_000])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_file_meta_group_is_read_by_its_elements(syntax: str, group_length: int | None) -> None:
    """What its length says is no reason to refuse a file."""
    encoding = SYNTAXES[syntax]
    data = dicom_file(encoding, group_length=group_length)
    file = DicomFile(data)
    assert file.meta.syntax == encoding.uid
    assert file.meta.end == len(file_meta(encoding, group_length))
    assert np.array_equal(decode_image(data).pixels, decode_image(dicom_file(encoding)).pixels)
    assert file.header().file_meta == pydicom.dcmread(io.BytesIO(data)).file_meta
