"""Files of a run that were measured on the data, for one set of weights."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from cxr.errors import RunError
from cxr.section import Section, first_complaint


class Measured(Section):
    """Something measured with one set of weights."""

    weights_sha256: str


SomeMeasured = TypeVar("SomeMeasured", bound=Measured)


def read_measured(
    path: Path, kind: type[SomeMeasured], weights_sha256: str, again: str
) -> SomeMeasured | None:
    """Read such a file; None if nothing was measured.

    Args:
        path: The file.
        kind: What it holds.
        weights_sha256: Of the run's weights.
        again: What to do if it is of other weights, for the message.

    Raises:
        RunError: Not such a file, or of other weights.
    """
    if not path.is_file():
        return None
    try:
        found = kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise RunError(f"{path} is not valid at {first_complaint(error)}.") from None
    if found.weights_sha256 != weights_sha256:
        raise RunError(f"{path} was measured with other weights. {again}")
    return found
