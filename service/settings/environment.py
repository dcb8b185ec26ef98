"""Read settings from the environment. The only module that does."""

from __future__ import annotations

import os
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from service.errors import StartupError

PREFIX = "CXR_"
FOREIGN_VARIABLES = frozenset({"CXR_SHARED_DATA"})
"""Variables with our prefix that belong to the data of the tests."""

GATEWAY_PREFIX = "CXR_GATEWAY_"
"""Read by the gateway, which may share its environment with a service."""

SomeSettings = TypeVar("SomeSettings", bound=BaseSettings)


def read_settings(
    kind: type[SomeSettings], overrides: dict[str, Any], foreign: tuple[str, ...] = ()
) -> SomeSettings:
    """Read settings of one kind; overrides that are not None win.

    Args:
        kind: Their class.
        overrides: From the command line.
        foreign: Longer prefixes of variables that others read.

    Raises:
        StartupError: A variable is unknown or a value is not allowed.
    """
    prefix = prefix_of(kind)
    known = {prefix + name.upper() for name in kind.model_fields} | FOREIGN_VARIABLES
    ours = (name for name in os.environ if name.startswith(prefix))
    unknown = sorted(n for n in ours if n not in known and not n.startswith(foreign))
    if unknown:
        raise StartupError(f"Unknown settings: {', '.join(unknown)}. See the configuration page.")
    try:
        return kind(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = prefix + "_".join(str(part) for part in first["loc"]).upper()
        where = name if first["loc"] else "The settings"
        raise StartupError(f"{where}: {first['msg']}.") from None


def prefix_of(kind: type[BaseSettings]) -> str:
    """Return the prefix of its variables."""
    return str(kind.model_config.get("env_prefix", ""))
