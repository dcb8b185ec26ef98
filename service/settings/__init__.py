"""Settings of an operator, from the environment; models have manifests instead."""

from __future__ import annotations

from service.settings.access import AccessSettings
from service.settings.environment import GATEWAY_PREFIX, PREFIX, prefix_of, read_settings
from service.settings.service import (
    MIB,
    ModelVersion,
    Provider,
    Settings,
    load_settings,
    parse_models,
)
from service.settings.texts import parsed_from

__all__ = [
    "GATEWAY_PREFIX",
    "MIB",
    "PREFIX",
    "AccessSettings",
    "ModelVersion",
    "Provider",
    "Settings",
    "load_settings",
    "parse_models",
    "parsed_from",
    "prefix_of",
    "read_settings",
]
