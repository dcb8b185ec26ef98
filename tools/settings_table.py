"""The table of the configuration page."""

from __future__ import annotations

from typing import Any

from pydantic_settings import BaseSettings

from service.settings import Settings, prefix_of


def settings_table(kind: type[BaseSettings] = Settings) -> str:
    """Return a Markdown table of the settings: variable, default, allowed values, meaning."""
    prefix = prefix_of(kind)
    lines = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    for name, schema in kind.model_json_schema()["properties"].items():
        default = schema["default"]
        if isinstance(default, list | dict):  # read from one text
            default = " ".join(default)
        shown = "(empty)" if default == "" else f"`{default}`"
        lines.append(
            f"| `{prefix}{name.upper()}` | {shown} | {_allowed(schema)} | {schema['description']} |"
        )
    return "\n".join(lines) + "\n"


def _allowed(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "string":
        return "text"
    low, high = schema.get("minimum"), schema.get("maximum")
    return f"{low} to {high}" if high is not None else f"from {low}"
