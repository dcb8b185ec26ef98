"""Declarations of the members of log lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Where: TypeAlias = Literal["every line", "request", "service", "gateway"]


@dataclass(frozen=True)
class LogField:
    """One member: its key, the lines that have it, and its meaning."""

    name: str
    where: Where
    help: str


LOG_FIELDS = (
    LogField("time", "every line", "UTC, ISO 8601, milliseconds."),
    LogField("level", "every line", "`debug`, `info`, `warning`, `error`."),
    LogField("event", "every line", "What happened, a constant; `request` is the canonical line."),
    LogField(
        "request_id", "every line", "Of the request that was worked on: `X-Request-ID` if harmless."
    ),
    LogField("trace_id", "every line", "Of its trace, when tracing is on."),
    LogField("error", "every line", "Of an exception: its type and frames, never its text."),
    LogField("method", "request", "HTTP method; one that is none of HTTP's is `_OTHER`."),
    LogField(
        "route", "request", "Template of the route, never the path; `other` if there is none."
    ),
    LogField("status", "request", "HTTP status; null if the client went away before an answer."),
    LogField("outcome", "request", "`ok`, `client-closed`, or the slug of the problem."),
    LogField("body_bytes", "request", "Bytes of the body that came."),
    LogField(
        "timings_ms",
        "request",
        "`recv`, `decode`, `queue`, `infer`, `explain`, `total`, as in `Server-Timing`; of many "
        "images the longest.",
    ),
    LogField("model", "service", "Name of the model."),
    LogField("model_version", "service", "Its version."),
    LogField("images", "service", "Images of the request."),
    LogField("batch_size", "service", "Images of the largest run an image was in; 0 if none ran."),
    LogField("decisions", "service", "Images by decision."),
    LogField("out_of_scope", "service", "Images out of scope among them."),
    LogField(
        "probability_bins",
        "service",
        "Bin of each answered image's probability, ascending, not in their order; see Drift.",
    ),
    LogField("problems", "service", "Slugs of the problems of images that failed alone."),
    LogField("explained_by", "service", "Method of the explanation."),
    LogField("stored", "gateway", "Objects of a STOW-RS request that were stored."),
    LogField("refused", "gateway", "Those that were not."),
)
"""All of them, in the order of the documentation. Other events have members of their own."""


def log_fields_table() -> str:
    """Return the members as a Markdown table."""
    lines = ["| member | lines | meaning |", "|---|---|---|"]
    lines += [f"| `{one.name}` | {one.where} | {one.help} |" for one in LOG_FIELDS]
    return "\n".join(lines) + "\n"
