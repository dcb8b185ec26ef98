"""Names and shares as people write them."""

from __future__ import annotations

from collections.abc import Sequence

from cxr.data.labels import KINDS

MOST_DECIMALS = 6


def words_of(name: str) -> str:
    """Return a finding or class (PNEUMONIA, BACTERIAL) as words that stand by themselves.

    Args:
        name: As tasks name it.

    Returns:
        ``pneumonia``, ``bacterial pneumonia``; of a name unknown here, the name in lower case.
    """
    own = short_words_of(name)
    return f"{own} {short_words_of(KINDS[name])}" if name in KINDS else own


def short_words_of(name: str) -> str:
    """Return a name in lower case, for a place that says what it is a kind of."""
    return name.lower().replace("_", " ")


def listed(parts: Sequence[str], last: str = "and") -> str:
    """Join parts to ``a, b and c``."""
    *others, final = parts
    return f"{', '.join(others)} {last} {final}" if others else final


def percents(*shares: float) -> list[str]:
    """Write shares in [0, 1] in percent, for one sentence.

    Each has one decimal, or as many as are needed to tell different shares apart: a sentence that
    says "19.8 % is below 19.8 %" explains nothing.
    """
    texts: list[str] = []
    for decimals in range(1, MOST_DECIMALS + 1):
        texts = [_percent(share, decimals) for share in shares]
        if len(set(texts)) == len(set(shares)):
            break
    return texts


def _percent(share: float, decimals: int) -> str:
    value, least = share * 100, 10.0**-decimals
    if 0 < value < least:
        return f"under {least:.{decimals}f} %"
    if 100 - least < value < 100:
        return f"over {100 - least:.{decimals}f} %"
    text = f"{value:.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.')} %"
