"""Strict text decoding (PS3.5, 6.1.2).

pydicom replaces undecodable characters, which can make different identifiers equal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydicom.charset import CODES_TO_ENCODINGS, STAND_ALONE_ENCODINGS, python_encoding

ASCII = "ascii"  # ISO_IR 6, the default repertoire: pydicom decodes it as Latin-1
DEFAULTS = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
SPELLING = re.compile(r"ISO[-_ ]?(2022[-_ ])?IR[-_ ]?(\d+)")
"""The standard's spelling, and the variants that occur."""

ESC = b"\x1b"
TO_FIRST, TO_ROMAJI = ESC + b"(B", ESC + b"(J"
FRAGMENT = re.compile(rb"[^\x1b]+|\x1b[^\x1b]*")
LONG_ESCAPES = (ESC + b"$(", ESC + b"$)")
KATAKANA = re.compile(rb"[\x00-\x7f\xa1-\xdf]*")  # JIS X 0201, a part of what Shift JIS decodes
STATEFUL = frozenset({"iso2022_jp", "iso2022_jp_2"})  # Python's codecs read their escapes


class CharacterSets:
    """Character sets by terms of (0008,0005); any unknown one means ASCII only."""

    def __init__(self, terms: Sequence[str]) -> None:
        named = [_defined_term(term) for term in terms] or [""]
        if named[0] in STAND_ALONE_ENCODINGS:  # others beside it count as absent
            named = named[:1]
        named = [named[0], *(term for term in named[1:] if term not in STAND_ALONE_ENCODINGS)]
        encodings = [ASCII if term in DEFAULTS else python_encoding.get(term) for term in named]
        known = [one for one in encodings if one is not None]
        self._encodings = known if len(known) == len(encodings) else [ASCII]
        self._has_extensions = len(named) > 1 or named[0].startswith("ISO 2022")

    def decode(self, value: bytes, delimiters: bytes) -> str:
        """Decode a value; after ``delimiters`` the first set applies again.

        Raises:
            UnicodeError: Part of it is in no declared set.
        """
        if ESC not in value:
            return _decode(value, self._encodings[0])
        if not self._has_extensions:
            raise UnicodeError("code extensions are not declared")
        return "".join(self._fragment(one, delimiters) for one in FRAGMENT.findall(value))

    def _fragment(self, fragment: bytes, delimiters: bytes) -> str:
        first = self._encodings[0]
        if not fragment.startswith(ESC):
            return _decode(fragment, first)
        length = 4 if fragment.startswith(LONG_ESCAPES) else 3
        escape, rest = fragment[:length], fragment[length:]
        if escape in (TO_FIRST, TO_ROMAJI):
            return _decode(rest, first if escape == TO_FIRST else "shift_jis")
        encoding = CODES_TO_ENCODINGS.get(escape)
        if encoding not in self._encodings:
            raise UnicodeError("an escape sequence of a set that is not declared")
        if encoding in STATEFUL:
            return _decode(fragment, encoding)
        end = next((i for i, code in enumerate(rest) if code in delimiters), len(rest))
        return _decode(rest[:end], encoding) + _decode(rest[end:], first)


def _decode(value: bytes, encoding: str) -> str:
    if encoding == "shift_jis" and not KATAKANA.fullmatch(value):
        raise UnicodeError("not of JIS X 0201")
    return value.decode(encoding)


def _defined_term(term: str) -> str:
    # PS3.3, C.12.1.1.2.
    term = term.strip(" \0").upper()
    if (spelled := SPELLING.fullmatch(term)) is None:
        return term
    return f"ISO 2022 IR {spelled[2]}" if spelled[1] else f"ISO_IR {spelled[2]}"
