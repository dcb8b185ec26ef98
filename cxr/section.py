"""Base of what is written to and read from JSON files."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Part of a manifest or a run: immutable, without surprises."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
