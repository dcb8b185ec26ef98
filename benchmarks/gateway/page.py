"""The gateway's figures as Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.table import machine_lines, markdown, number

ACCEPT_BAR_PER_S = 80.0
ANALYSE_BAR = 0.8

NAMES = {
    "gateway": "the gateway",
    "null": "pynetdicom, keeping nothing",
    "storescp": "dcmtk's storescp, not synced",
    "orthanc": "Orthanc",
}
MODELS = ("resnet18", "small_cnn")


def render_gateway(results: dict[str, Any]) -> str:
    """Give a run's tables."""
    found = results["medians"]
    header = ["who", "one association", "one each", "CPU ms an object"]
    rows = [
        [
            NAMES[name],
            number(found["accept"][name]),
            number(found["each"][name]),
            number(found["accept_cpu_ms"][name]),
        ]
        for name in NAMES
    ]
    parts = [
        machine_lines(results),
        "### Objects of 2 MB taken in, per second",
        markdown(header, rows),
        f"Bar: {number(ACCEPT_BAR_PER_S)} on one association: "
        f"{_verdict(found['accept']['gateway'], ACCEPT_BAR_PER_S)}.",
        "### Analysed and delivered",
        markdown(
            [
                "model",
                "the service alone, objects/s",
                "through the gateway",
                "share",
                f"bar {number(ANALYSE_BAR)}",
                "lone object, C-STORE to result",
                "gateway's CPU ms an object",
            ],
            [_analysed(model, found[model]) for model in MODELS if model in found],
        ),
    ]
    return "\n\n".join(parts)


def _analysed(model: str, found: dict[str, float]) -> list[str]:
    return [
        model,
        number(found["alone_per_s"]),
        number(found["per_s"]),
        number(found["of_service"]),
        _verdict(found["of_service"], ANALYSE_BAR),
        number(found["lone_p50_s"] * 1000, "ms"),
        number(found["cpu_ms"]),
    ]


def _verdict(value: float, bar: float) -> str:
    return "met" if value >= bar else "**missed**"
