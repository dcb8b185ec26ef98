"""Base of what is written to and read from JSON files."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

MAX_PLACE_CHARS = 200  # an unknown member may be called anything, at any length


class Section(BaseModel):
    """Part of a JSON file: immutable, without unknown members."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


def first_complaint(error: ValidationError) -> str:
    """Return where and why a document is invalid: ``task.name: Field required``."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the document"
    return f"{where[:MAX_PLACE_CHARS]}: {first['msg']}"
