"""What archives write for view, body part and modality, and what follows from it."""

from __future__ import annotations

import pytest

from cxr.dicom.header import NO_VIEW
from cxr.images.decoding import decode_image
from cxr.verdict.reasons import BODY_PART
from cxr.verdict.scope import assess_scope
from export.phantom import draw_phantom
from tests.cxr.dicom_encodings import edited
from tests.cxr.dicom_encodings import raw_file as raw_file_of

PHANTOM = draw_phantom(5)[:128, :128]


def raw_file(keyword: str, value: str) -> bytes:
    return raw_file_of(PHANTOM, keyword, value, "SH")


VIEWS = {
    "lateral": r"""
        LAT, LATERAL, LL, RL, LLD, RLD, LLO, RLO, XTABLE, X-TABLE, X TABLE, CROSS TABLE, XTABLE LAT,
        L LAT, R LAT, LLAT, RLAT, LT LAT, LEFT LATERAL, LATERAL LEFT, LATERO-LATERAL, LAT ERECT,
        LATL, DECUB, LAO, RAO, OBLIQUE, PA LAT, AP\LAT, lateral, LATERALE, SEITLICH, PROFIL,
        CHEST LAT""",
    "frontal": "PA, AP, pa, AP ERECT, PA UPRIGHT, AP PORTABLE, CHEST PA, FRONTAL",
    None: "?, OTHER, W033, ERECT, PORTABLE, STANDING",
}
CHESTS = """
    CHEST, THORAX, TORAX, TORACE, LUNG, LUNGS, THORAX PA, CHEST_PA, CHEST PA, CHEST AP,
    CHEST 1 VIEW, CHEST 2 VIEWS, PORT CHEST, CHEST PORT, CHEST PORTABLE, CHEST-PA, CHESTPA,
    Chest, XR CHEST, CXR, CHEST/LUNG, CHEST AP ERECT, UNKNOWN, PED CHEST"""
OTHERS = """
    HIP, ABDOMEN, CHEST ABDOMEN, CHEST/ABD, T-SPINE, TSPINE, THORACIC SPINE, BREAST, HAND, SKULL,
    CHEST WALL MASS, RIBS, PA, \xe9, ?, SHOULDER, CHESTABDOMEN, NECK CHEST"""
BLANK = " "


def words_in(table: str) -> list[str]:
    return [word.strip() for word in table.split(",")]


@pytest.mark.parametrize(
    ("projection", "word"),
    [
        *((kind, word) for kind, words in VIEWS.items() for word in words_in(words)),
        ("frontal", " PA "),
        (None, BLANK),
    ],
)
def test_words_of_a_view_position(projection: str | None, word: str) -> None:
    """Lateral ones are referred; unknown ones warn as an absent one does."""
    decoded = decode_image(raw_file("ViewPosition", word))
    assert decoded.dicom is not None
    assert decoded.dicom.projection == projection
    assert assess_scope(decoded).in_scope == (projection != "lateral")
    assert (NO_VIEW in decoded.warnings) == (projection is None)


@pytest.mark.parametrize("word", [*words_in(CHESTS), " CHEST ", BLANK])
def test_spellings_of_the_chest_are_in_scope(word: str) -> None:
    """As archives hold them."""
    decoded = decode_image(raw_file("BodyPartExamined", word))
    assert assess_scope(decoded).reasons == ()


@pytest.mark.parametrize("word", words_in(OTHERS))
def test_other_body_parts_are_not(word: str) -> None:
    """Nor is the chest together with another part."""
    decoded = decode_image(raw_file("BodyPartExamined", word))
    assert assess_scope(decoded).reasons == (BODY_PART,)


def test_lateral_body_part_is_lateral_unless_the_view_is_named() -> None:
    """The view position is asked first."""
    data = edited(PHANTOM, lambda ds: setattr(ds, "BodyPartExamined", "CHEST LAT"))
    assert assess_scope(decode_image(data)).in_scope
    data = edited(
        PHANTOM,
        lambda ds: setattr(ds, "BodyPartExamined", "CHEST LAT"),
        lambda ds: delattr(ds, "ViewPosition"),
    )
    assert not assess_scope(decode_image(data)).in_scope


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "XR", " DX", "dx"])
def test_modalities_of_projection_radiographs(modality: str) -> None:
    """DR and XR are no terms of the standard, but are met."""
    assert assess_scope(decode_image(raw_file("Modality", modality))).in_scope
