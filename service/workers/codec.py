"""Plain data as JSON with buffers beside it: all that the service takes from a worker.

A pickle would be read by a machine that builds what it is told, of any depth and size. Here the
reader knows what there is: numbers, texts, bytes, arrays of numbers, collections, and objects of
our own classes that are made of these. It imports nothing, and bounds depth, number and size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any

import numpy as np
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from cxr.errors import CxrError
from service.errors import Failure

MOST_JSON_BYTES = 1 << 20
"""Of everything but buffers, in which whatever is long is sent."""

MOST_NODES = 100_000
PACKAGES = ("cxr.", "service.")
NUMBERS = frozenset("biuf")  # kinds of NumPy's types: booleans, integers, floats

SCALARS = frozenset({bool, int, float, str, type(None)})


class Tag:
    """What a JSON array stands for: its first member."""

    BYTES, ARRAY, LIST, TUPLE, DICT, OBJECT, ENUM = "b", "a", "l", "t", "d", "o", "e"
    FAILURE, ERROR = "f", "x"  # a deliberate error taken apart, and put together


class CodecError(Exception):
    """What was sent is not plain data of known classes, or too much."""


def encode(value: object) -> list[memoryview]:
    """Return a value as JSON and the buffers beside it, which are not copied.

    Raises:
        CodecError: Something in it is no plain data.
    """
    beside: list[memoryview] = []
    return [memoryview(to_json(_plain(value, beside), inf_nan_mode="constants")), *beside]


def _plain(value: Any, beside: list[memoryview]) -> Any:  # noqa: PLR0911 - one for each kind
    kind: Any = type(value)
    if kind in SCALARS:
        return value
    if kind is bytes:
        beside.append(memoryview(value))
        return [Tag.BYTES, len(beside)]
    if kind is tuple:
        return [Tag.TUPLE, *(_plain(one, beside) for one in value)]
    if kind is list:
        return [Tag.LIST, *(_plain(one, beside) for one in value)]
    if kind is dict:
        pairs = ((_plain(key, beside), _plain(one, beside)) for key, one in value.items())
        return [Tag.DICT, *(part for pair in pairs for part in pair)]
    if kind is np.ndarray:
        beside.append(np.ascontiguousarray(value).data.cast("B"))
        return [Tag.ARRAY, len(beside), value.dtype.str, *value.shape]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, CxrError):
        return [Tag.ERROR, *_plain(Failure.of(value), beside)[1:]]
    if kind is Failure:
        made_of = (value.arguments, value.state)
        return [Tag.FAILURE, _name_of(value.kind), *(_plain(one, beside) for one in made_of)]
    name = _name_of(kind)
    if isinstance(value, Enum):
        return [Tag.ENUM, name, value.value]
    names = _names_of(kind)
    if names is None:
        raise CodecError(f"{name} is no plain data")
    return [Tag.OBJECT, name, *(_plain(getattr(value, one), beside) for one in names)]


def _name_of(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


@cache
def _names_of(kind: type) -> tuple[str, ...] | None:
    """Return the members an object is made of; None if it is no plain data."""
    if issubclass(kind, BaseModel):
        return tuple(kind.model_fields)
    if is_dataclass(kind):
        return tuple(one.name for one in fields(kind))
    return getattr(kind, "_fields", None) if issubclass(kind, tuple) else None


def decode(parts: Sequence[bytes | bytearray]) -> Any:
    """Return what was encoded.

    Raises:
        CodecError: It is no plain data of known classes, or too much.
    """
    if len(parts[0]) > MOST_JSON_BYTES:
        raise CodecError("it is too long")
    try:
        return _Reader(parts).value_of(from_json(bytes(parts[0]), allow_inf_nan=True))
    except CodecError:
        raise
    except Exception as error:  # whatever crafted data make of a constructor
        raise CodecError(f"it cannot be read ({type(error).__name__})") from None


class _Reader:
    def __init__(self, parts: Sequence[bytes | bytearray]) -> None:
        self._parts = parts
        self._left = MOST_NODES

    def value_of(self, plain: Any) -> Any:  # noqa: PLR0911 - one for each tag
        if type(plain) is not list:
            if isinstance(plain, dict):
                raise CodecError("it holds an object of JSON")
            return plain
        self._left -= len(plain)
        if self._left < 0:
            raise CodecError("it is made of too many parts")
        tag, *rest = plain
        match tag:
            case Tag.OBJECT:
                name, *members = rest
                return _maker_of(name)([self.value_of(one) for one in members])
            case Tag.TUPLE:
                return tuple([self.value_of(one) for one in rest])
            case Tag.BYTES:
                return bytes(self._part(*rest))
            case Tag.LIST:
                return [self.value_of(one) for one in rest]
            case Tag.DICT:
                every = [self.value_of(one) for one in rest]
                return dict(zip(every[::2], every[1::2], strict=True))
            case Tag.ARRAY:
                return self._array(*rest)
            case Tag.ENUM:
                name, value = rest
                return _enum_of(name)(value)
            case Tag.FAILURE:
                return self._failure(*rest)
            case Tag.ERROR:
                return self._failure(*rest).restore()
        raise CodecError("it has an unknown tag")

    def _failure(self, name: str, arguments: Any, state: Any) -> Failure:
        return Failure(_error_of(name), self.value_of(arguments), self.value_of(state))

    def _part(self, number: int) -> bytes | bytearray:
        if type(number) is not int or not 0 < number < len(self._parts):
            raise CodecError("a buffer is missing")
        return self._parts[number]

    def _array(self, number: int, kind: str, *shape: int) -> Any:
        dtype = np.dtype(str(kind))
        if dtype.kind not in NUMBERS:
            raise CodecError("an array is not of numbers")
        return np.frombuffer(self._part(number), dtype).reshape(shape)


@cache
def _maker_of(name: str) -> Callable[[list[Any]], Any]:
    kind = _find(name)
    names = _names_of(kind)
    if names is None:
        raise CodecError(f"{name[:80]} is no plain data")
    if issubclass(kind, BaseModel):
        return lambda members: kind.model_validate(dict(zip(names, members, strict=True)))
    return lambda members: kind(**dict(zip(names, members, strict=True)))


@cache
def _enum_of(name: str) -> type[Enum]:
    kind = _find(name)
    if not issubclass(kind, Enum):
        raise CodecError(f"{name[:80]} is no enumeration")
    return kind


@cache
def _error_of(name: str) -> type[CxrError]:
    kind = _find(name)
    if not issubclass(kind, CxrError):
        raise CodecError(f"{name[:80]} is no error of ours")
    return kind


def _find(name: str) -> type:
    """Return a class of ours that is here already: nothing is imported for a worker."""
    module, _, label = name.partition(":")
    if module.startswith(PACKAGES) and module in sys.modules and label.isidentifier():
        found = getattr(sys.modules[module], label, None)
        if isinstance(found, type) and found.__module__ == module:
            return found
    raise CodecError("it is of an unknown class")
