"""Settings that are written as one text and read as a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BeforeValidator, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_settings import NoDecode


class _Text:
    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string"}


def parsed_from(parse: Callable[[str], Any]) -> tuple[Any, ...]:
    """Return the annotations of a setting whose text ``parse`` reads or rejects (ValueError)."""

    def read(value: object) -> object:
        return parse(value) if isinstance(value, str) else value

    # NoDecode: pydantic-settings would read the variable as JSON.
    return NoDecode, BeforeValidator(read), _Text()
