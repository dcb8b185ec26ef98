"""Which media type to answer with (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from service.errors import NotAcceptableError


def _normalise(media_type: str) -> str:
    """Give a media type as it is compared: of parameters, only what multiparts consist of."""
    name, *parameters = (part.strip().lower() for part in media_type.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if name.startswith("multipart/") and key.strip() == "type":
            value = value.strip().strip('"')
            return f"{name};type={value}"
    return name


def choose_media_type(request: Request, offered: Sequence[str]) -> str:
    """Choose what the client likes best.

    Args:
        request: Its Accept header, if there is one, decides.
        offered: Media types an answer can have; the first is given to who has no preference.
            That of a multipart names its ``type`` (RFC 2387).

    Raises:
        NotAcceptableError: The client accepts none of them.
    """
    header = ",".join(request.headers.getlist("accept"))
    if not header.strip():
        return offered[0]
    ranges = [one for part in header.split(",") if (one := _parse_range(part)) is not None]
    rated = [(_rate(media_type, ranges), media_type) for media_type in offered]
    # max keeps the first of equals; of equal qualities the one named more precisely wins.
    (quality, _), best = max(rated, key=lambda pair: pair[0])
    if quality == 0.0:
        raise NotAcceptableError(
            f"The Accept header allows none of {', '.join(offered)}. Ask for one of these."
        )
    return best


def _parse_range(text: str) -> tuple[str, float] | None:
    """Give a media range and its quality; None for what is not well-formed and so ignored."""
    name = _normalise(text)
    parameters = text.lower().split(";")[1:]
    if name.partition(";")[0].count("/") != 1:
        return None
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return _with_quality(name, value.strip())
    return name, 1.0


def _with_quality(name: str, value: str) -> tuple[str, float] | None:
    if not (value.replace(".", "", 1).isascii() and value.replace(".", "", 1).isdigit()):
        return None
    quality = float(value)
    return (name, quality) if quality <= 1.0 else None


def _rate(media_type: str, ranges: Sequence[tuple[str, float]]) -> tuple[float, int]:
    """Give the quality the most specific matching range has, and how specific that is."""
    exact = _normalise(media_type)
    patterns = ("*/*", exact.partition("/")[0] + "/*", exact.partition(";")[0], exact)
    for precision in (3, 2, 1, 0):
        matching = [quality for name, quality in ranges if name == patterns[precision]]
        if matching:
            return max(matching), precision
    return 0.0, 0
