"""Metrics of versions and of shadows, declared."""

from __future__ import annotations

from service.telemetry.metrics import Metric

_DIFFERENCES = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)

VERSIONS = Metric(
    "cxr_model_version",
    "gauge",
    "1 for each known version of a model, in its state: `available`, `loading`, `active`, "
    "`standby`, `unloading`, `failed`.",
    ("model", "version", "state"),
)
SHADOW_IMAGES = Metric(
    "cxr_shadow_images_total",
    "counter",
    "Images that a shadow answered after the version in force, by the decisions of both.",
    ("model", "version", "shadow", "decision", "shadow_decision"),
)
SHADOW_DIFFERENCE = Metric(
    "cxr_shadow_probability_difference",
    "histogram",
    "Absolute difference of the finding's probability between a shadow and the version in force.",
    ("model", "version", "shadow"),
    _DIFFERENCES,
)
SHADOW_DROPPED = Metric(
    "cxr_shadow_dropped_total",
    "counter",
    "Images that a shadow did not answer: `busy`, `failed`, or `other-input`, where it takes "
    "another input than the version in force.",
    ("model", "shadow", "reason"),
)

VERSION_METRICS = (VERSIONS, SHADOW_IMAGES, SHADOW_DIFFERENCE, SHADOW_DROPPED)
"""All of them, in the order of the documentation."""
