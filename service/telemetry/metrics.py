"""Declarations of the service's metrics.

A label is kept as long as the process lives. Its values are few and bounded: never an id, a file
name or data of a patient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cxr.bundles.reference import BIN_EDGES

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric. Counters and histograms are recorded, gauges read on request."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


def metrics_in(namespace: Mapping[str, object]) -> tuple[Metric, ...]:
    """Return a module's metrics in the order of their declarations."""
    return tuple(value for value in namespace.values() if isinstance(value, Metric))


_REQUEST_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0)
_STAGE_S = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 2.0)
_WAIT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 5.0)
_DIFFERENCES = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
_IMAGES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)

REQUESTS = Metric(
    "cxr_requests_total",
    "counter",
    "Requests answered, by route and HTTP status; what no route takes is `other`.",
    ("route", "status"),
)
REQUEST_SECONDS = Metric(
    "cxr_request_duration_seconds",
    "histogram",
    "Time from the head of a request to the end of its answer.",
    ("route",),
    _REQUEST_S,
)
STAGE_SECONDS = Metric(
    "cxr_stage_duration_seconds",
    "histogram",
    "Stages of requests that had them: `recv` (the body), `decode`, `queue`, `infer`, `explain`; "
    "of many images the longest.",
    ("stage",),
    _STAGE_S,
)
REQUEST_PROBLEMS = Metric(
    "cxr_request_problems_total",
    "counter",
    "Requests refused or failed as a whole, by problem type; `queue-full` and `not-ready` are "
    "those refused at the door.",
    ("problem",),
)
IMAGES = Metric(
    "cxr_images_total",
    "counter",
    "Images answered, by model and decision (`positive`, `negative`, `refer`).",
    ("model", "decision"),
)
IMAGE_FAILURES = Metric(
    "cxr_image_failures_total",
    "counter",
    "Images that failed alone, by problem type: not decoded, out of scope, or not run.",
    ("model", "problem"),
)
DECODE_FAILURES = Metric(
    "cxr_decode_failures_total",
    "counter",
    "Images that could not be decoded, by problem type: `unsupported-media`, `unreadable-image`, "
    "`unsupported-dicom`, `payload-too-large` (too many pixels).",
    ("problem",),
)
OUT_OF_SCOPE = Metric(
    "cxr_out_of_scope_total",
    "counter",
    "Images out of scope, answered or refused, by the first reason's code; "
    "`unfamiliar-population`: not a patient like those the model was validated on.",
    ("model", "reason"),
)
PROBABILITY = Metric(
    "cxr_probability",
    "histogram",
    "Probability of the finding of each answered image.",
    ("model",),
    BIN_EDGES,
)
DECISION_SHARE = Metric(
    "cxr_decision_share",
    "gauge",
    "Share of the latest 1,000 images by decision; `out-of-scope` are in `refer`, too. Absent "
    "below 200.",
    ("model", "decision"),
)
DRIFT_PSI = Metric(
    "cxr_drift_psi",
    "gauge",
    "Population stability index of the probabilities of the latest 1,000 images against the "
    "bundle's validation images: below 0.1 stable, from 0.25 shifted. Absent below 200.",
    ("model",),
)
DRIFT_IMAGES = Metric(
    "cxr_drift_images", "gauge", "Images that share and index are taken from.", ("model",)
)
DECODE_SECONDS = Metric(
    "cxr_decode_duration_seconds",
    "histogram",
    "Work of a thread on decoding and resizing one image, without its wait.",
    (),
    _STAGE_S,
)
QUEUE_WAIT_SECONDS = Metric(
    "cxr_queue_wait_seconds",
    "histogram",
    "Wait of one image, for a core to decode it and for its run.",
    ("model", "work"),
    _WAIT_S,
)
BATCH_SIZE = Metric(
    "cxr_batch_size",
    "histogram",
    "Images of one run.",
    ("model", "work"),
    _IMAGES,
)
RUN_SECONDS = Metric(
    "cxr_run_duration_seconds",
    "histogram",
    "Duration of one run of the engine (`work` is `predict`) or the explainer (`explain`).",
    ("model", "work"),
    _STAGE_S,
)
QUEUE_DEPTH = Metric(
    "cxr_queue_depth", "gauge", "Images accepted and not yet answered now.", ("model", "work")
)
WAITING_FOR_CORE = Metric(
    "cxr_waiting_for_core",
    "gauge",
    "Jobs that wait for a core now: images to decode and, on a CPU, to run.",
)
WORKERS_ENDED = Metric(
    "cxr_workers_ended_total",
    "counter",
    "Worker processes that ended and were replaced, by what they are for: a file ended them, or "
    "the system did.",
    ("work",),
)
WORKERS_MEMORY = Metric(
    "cxr_workers_resident_memory_bytes",
    "gauge",
    "Resident memory of the worker processes, of which they share some; "
    "`process_resident_memory_bytes` is that of the process that answers.",
    ("work",),
)
WORKERS_CPU = Metric(
    "cxr_workers_cpu_seconds",
    "gauge",
    "CPU time of the worker processes that are there now.",
    ("work",),
)
READY = Metric("cxr_ready", "gauge", "1 if predictions are accepted, else 0.")
BUNDLE = Metric(
    "cxr_bundle_info",
    "gauge",
    "1 for each loaded bundle; its labels say what it is and what runs it.",
    ("model", "version", "sha256", "engine", "provider", "precision"),
)

GPU_USED = Metric(
    "cxr_gpu_memory_used_bytes",
    "gauge",
    "Memory in use on the CUDA device, by whomever. Absent without one.",
    ("device",),
)
GPU_TOTAL = Metric(
    "cxr_gpu_memory_total_bytes",
    "gauge",
    "Memory of the CUDA device. Absent without one.",
    ("device",),
)

METRICS = metrics_in(globals())
"""Those declared above, in the order of the documentation."""

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

VERSION_METRICS = metrics_in(globals())[len(METRICS) :]
"""Those of versions and shadows."""


def metrics_table(metrics: Iterable[Metric] = METRICS) -> str:
    """Return metrics as Markdown."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"


def buckets_table(metrics: Iterable[Metric] = METRICS) -> str:
    """Return the buckets of histograms as Markdown."""
    lines = ["| metric | buckets |", "|---|---|"]
    for metric in metrics:
        if metric.buckets:
            bounds = ", ".join(f"{bound:g}" for bound in metric.buckets)
            lines.append(f"| `{metric.name}` | {bounds} |")
    return "\n".join(lines) + "\n"
