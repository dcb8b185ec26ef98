"""Response formats and their negotiation (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from service.errors import NotAcceptableError
from service.http.formats.sources import Sources
from service.models.models import ServedModel
from service.settings import Settings


class ResponseFormat:
    """A representation of a route's answers; no ``content`` where OpenAPI has it."""

    media_type: ClassVar[str]
    content: ClassVar[Mapping[str, Any] | None] = None
    schemas: ClassVar[Sequence[type[BaseModel]]] = ()

    def open_sources(self, settings: Settings, served: ServedModel) -> Sources | None:
        """Return the reader of the needed DICOM headers.

        Raises:
            DicomResultsDisabledError: The format is unavailable.
        """
        return None


Format = TypeVar("Format", bound=ResponseFormat)


def choose_format(request: Request, offered: Sequence[Format]) -> Format:
    """Return the client's preferred format, by default the first.

    Raises:
        NotAcceptableError: It accepts none.
    """
    header = ",".join(request.headers.getlist("accept"))
    if header.strip() in ("", "*/*"):
        return offered[0]
    ranges = [parsed for part in header.split(",") if (parsed := _parse_range(part)) is not None]
    best, best_rating = offered[0], (0.0, 0)
    for one in offered:
        # Of equal qualities the more specific range wins, then the format offered first.
        if (rating := _rate(one.media_type, ranges)) > best_rating:
            best, best_rating = one, rating
    if best_rating[0] == 0.0:
        names = ", ".join(one.media_type for one in offered)
        raise NotAcceptableError(f"The Accept header allows none of {names}. Ask for one of these.")
    return best


def _parse_range(text: str) -> tuple[str, float] | None:
    name = _normalise(text)
    if name.partition(";")[0].count("/") != 1:
        return None
    for parameter in text.lower().split(";")[1:]:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            value = value.strip()
            digits = value.replace(".", "", 1)
            if not (digits.isascii() and digits.isdigit()) or float(value) > 1.0:
                return None
            return name, float(value)
    return name, 1.0


def _normalise(media_type: str) -> str:
    name, *parameters = media_type.lower().split(";")
    name = name.strip()
    for parameter in parameters if name.startswith("multipart/") else ():
        key, _, value = parameter.partition("=")
        if key.strip() == "type":
            value = value.strip().strip('"')
            return f"{name};type={value}"
    return name


def _rate(media_type: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int]:
    exact = _normalise(media_type)
    patterns = ("*/*", exact.partition("/")[0] + "/*", exact.partition(";")[0], exact)
    for precision in (3, 2, 1, 0):
        matching = [quality for name, quality in ranges if name == patterns[precision]]
        if matching:
            return max(matching), precision
    return 0.0, 0
