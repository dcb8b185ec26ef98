"""The header an object is filed by: read as the service reads it, at little cost."""

from __future__ import annotations

import numpy as np
import pytest

from service.gateway.errors import UnreadableObjectError
from service.gateway.header import read_header_of
from tests.cost import cost_of
from tests.cxr.dicom_encodings import ENCODINGS
from tests.fuzzing.damaged import damage
from tests.hostile import DICOM_BOMBS, SYNTAXES, dicom_bomb, dicom_file

CPU_S, MEMORY_BYTES = 0.1, 64 << 20
ENOUGH = 60_000
REACHED = frozenset(DICOM_BOMBS) - {
    "plain elements",
    "empty items behind the UIDs",
    "empty items of defined length",
    "window values",
    "numbers",
}
"""What stands before the UIDs; what comes later is not looked at."""


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("name", DICOM_BOMBS)
def test_bomb_costs_little(name: str, syntax: str) -> None:
    """It is refused with the bound it breaks, or not reached."""
    data = dicom_bomb(name, SYNTAXES[syntax], ENOUGH)

    def read() -> None:
        if name not in REACHED:
            assert read_header_of(data).sop_instance_uid == "2.25.1"
            return
        with pytest.raises(UnreadableObjectError, match="holds"):
            read_header_of(data)

    cost = cost_of(read)
    assert cost.cpu_s < CPU_S
    assert cost.peak_bytes < MEMORY_BYTES


@pytest.mark.parametrize("group_length", [-1, 0, None, 7, 70_000])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_file_meta_group_length_is_no_reason_to_refuse(
    syntax: str, group_length: int | None
) -> None:
    """The digest is that of the same object with the right one."""
    sound = read_header_of(dicom_file(SYNTAXES[syntax]))
    assert read_header_of(dicom_file(SYNTAXES[syntax], group_length=group_length)) == sound
    assert sound.study_instance_uid == "2.25.3"
    assert sound.transfer_syntax_uid == SYNTAXES[syntax].uid


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(128) + b"DICM", bytes(5000)])
def test_what_is_no_dicom_is_refused(data: bytes) -> None:
    """Without a word about its bytes."""
    with pytest.raises(UnreadableObjectError, match="not a DICOM"):
        read_header_of(data)


def test_damaged_files_are_read_or_refused() -> None:
    """Whatever stands in them, nothing else is raised."""
    image = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    seeds = [one.encode(image) for one in ENCODINGS[:12]]
    for number in range(3000):
        try:
            read_header_of(damage(seeds[number % len(seeds)], np.random.default_rng(number)))
        except UnreadableObjectError:
            continue
