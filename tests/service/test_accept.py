"""Which form of an answer a client gets."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from service.errors import NotAcceptableError
from service.http.formats.negotiation import choose_format
from service.http.formats.registry import RENDER_FORMATS

JSON, PNG = "application/json", "image/png"


def choose(*headers: str) -> str:
    """Choose between JSON and PNG for some Accept headers."""
    given = [(b"accept", header.encode()) for header in headers]
    chosen = choose_format(Request({"type": "http", "headers": given}), RENDER_FORMATS)
    return chosen.media_type


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("image/png", PNG),
        ("IMAGE/PNG", PNG),
        ("image/*", PNG),
        ("image/png, application/json", JSON),
        ("image/png, */*", PNG),
        ("image/png, */*;q=0.1", PNG),
        ("application/json;q=0.5, image/png", PNG),
        ("application/json;q=0.5, image/png;q=0.4", JSON),
        ("*/*, application/json;q=0", PNG),
        ("image/*;q=0.9, image/png;q=0.1, application/*;q=0.5", JSON),
        ("image/png;q=0.2;v=1, text/html", PNG),
        ("text/html, application/xhtml+xml, */*;q=0.8", JSON),
        ("application/dicom, image/png ; q=0.3", PNG),
        ("nonsense, image/png", PNG),
    ],
)
def test_best_media_type_is_chosen(header: str, chosen: str) -> None:
    """By quality, the most specific range deciding; JSON where the client has no preference."""
    assert choose(header) == chosen


def test_header_may_come_in_parts() -> None:
    """Several headers of one name are one list (RFC 9110, 5.3)."""
    assert choose("text/html", "image/png") == PNG


REFUSED = (
    "text/html",
    "image/jpeg",
    "*/*;q=0",
    "application/json;q=0, image/png;q=0.000",
    "nonsense",
)
MALFORMED = tuple(f"image/png;q={quality}" for quality in ("x", "2", "-1", "nan", "1.1.1", ""))


@pytest.mark.parametrize("header", [*REFUSED, *MALFORMED])
def test_what_cannot_be_had_is_refused(header: str) -> None:
    """The error names what there is."""
    with pytest.raises(NotAcceptableError, match="application/json, image/png"):
        choose(header)
