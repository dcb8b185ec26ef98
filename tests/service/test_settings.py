"""Settings from the environment and the command line."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.errors import StartupError
from service.settings import Settings, load_settings
from tools.settings_table import settings_table


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting has its variable; the tests' own data variable is let pass."""
    monkeypatch.setenv("CXR_PORT", "9000")
    monkeypatch.setenv("CXR_MODELS", " a, b ,")
    monkeypatch.setenv("CXR_SHARED_DATA", "x")
    settings = load_settings()
    assert (settings.port, settings.model_names) == (9000, ("a", "b"))


def test_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error must not be a silent default."""
    monkeypatch.setenv("CXR_PROT", "9000")
    with pytest.raises(StartupError, match="CXR_PROT"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CXR_PORT", "65536"),
        ("CXR_MAX_BATCH", "0"),
        ("CXR_PROVIDER", "tpu"),
        ("CXR_DEADLINE_MS", "soon"),
        ("CXR_LOG_LEVEL", "loud"),
    ],
)
def test_bad_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The operator is told which variable to correct, in one line."""
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupError, match=f"^{name}: ") as caught:
        load_settings()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "contradiction",
    [{"max_buffered_bytes": 2048, "max_body_bytes": 4096}, {"queue_capacity": 8}],
    ids=["bytes", "images"],
)
def test_contradicting_limits_are_refused(contradiction: dict[str, int]) -> None:
    """A request within one limit must not be bound to fail at another."""
    with pytest.raises(StartupError, match="max_"):
        load_settings(**contradiction)


def test_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that was not given leaves the variable in force."""
    monkeypatch.setenv("CXR_PORT", "9000")
    assert load_settings(port=9001, host=None).port == 9001
    assert load_settings(port=None).port == 9000


def test_settings_are_frozen() -> None:
    """Nobody changes a setting while the service runs."""
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_table_has_a_row_for_each_setting() -> None:
    """Every setting has its variable, default, bounds and meaning on the page."""
    lines = settings_table().splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert [row[0] for row in rows] == [f"`CXR_{name.upper()}`" for name in Settings.model_fields]
    assert all(len(row) == 4 and all(row) for row in rows)
    assert "| `CXR_PORT` | `8000` | 0 to 65535 |" in settings_table()
    assert "`auto`, `cuda`, `cpu`" in settings_table()
