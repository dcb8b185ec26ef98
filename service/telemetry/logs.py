"""Structured logs: one JSON object per line, on standard output.

No line carries patient data: no file name, no query value, no text of a library's exception.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from pydantic_core import to_json

from service.telemetry.timeline import identity

LOG = logging.getLogger("cxr_service")


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, event, request and members."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **identity(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe_exception(record.exc_info[1])
        return to_json(line, fallback=str).decode()


def describe_exception(error: BaseException) -> dict[str, Any]:
    """Return type and frames: the message may quote a patient's data."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "type": type(error).__name__,
        "frames": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
    }


def log_event(level: int, event: str, error: BaseException | None = None, **fields: Any) -> None:
    """Write one log line.

    Args:
        level: A level of the ``logging`` module.
        event: A constant.
        error: Described by its type and frames.
        **fields: Further members.
    """
    LOG.log(level, event, extra={"fields": fields}, exc_info=error)


def configure_logging(level: str, stream: TextIO | None = None) -> None:
    """Write our lines from a level on, and warnings of libraries, as JSON."""
    # Whose line of code wrote a line of the log is in none of them, and takes long to find out.
    logging._srcfile = None
    logging.raiseExceptions = False  # a full disk under the log is no news for each request
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    LOG.setLevel(level.upper())
