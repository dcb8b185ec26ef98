"""The file compose.yaml is one that Compose takes, and restricts what it starts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from service.app.server import CLOSE_CONNECTIONS_S
from service.settings import Settings
from tests.conftest import REPOSITORY

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "compose.json").read_text())


def test_it_is_valid() -> None:
    """Against a schema of the Compose Specification, as far as it is used."""
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(SCHEMA).validate(COMPOSE)


@pytest.mark.parametrize(
    "wrong",
    [{"ports": ["8000:8000"]}, {"portz": []}, {"environment": {"A": True}}, {"image": 1}],
    ids=["published to all", "misspelt", "no text", "no name"],
)
def test_what_is_wrong_is_refused(wrong: dict[str, Any]) -> None:
    """Also a port that others than this machine would reach."""
    service = COMPOSE["services"]["service"] | wrong
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate({"services": {"service": service}})


def test_ours_are_restricted() -> None:
    """As in Kubernetes: a read-only root, no capability, no way to more."""
    for name in ("service", "gateway"):
        service = COMPOSE["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["tmpfs"]
        grace_s = int(service["stop_grace_period"].removesuffix("s"))
        assert grace_s > Settings.model_fields["drain_s"].default + CLOSE_CONNECTIONS_S


def test_volumes_and_files_are_there() -> None:
    """Named volumes are declared, files exist, the built target is one of the Dockerfile."""
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            there = (
                (REPOSITORY / "deploy" / source).is_file()
                if source.startswith("./")
                else source in COMPOSE["volumes"]
            )
            assert there, source
        assert set(service.get("depends_on", ())) <= COMPOSE["services"].keys()
        if "build" in service:
            assert f"AS {service['build']['target']}\n" in dockerfile
        assert re.search(r":v?\d[\w.]*$", service["image"])
