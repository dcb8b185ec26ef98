"""DICOM libraries that say nothing: their log lines and warnings quote attributes of patients."""

from __future__ import annotations

from pydicom import config

from cxr.silence import silence


def silence_libraries() -> None:
    """Turn off what pydicom and pynetdicom log and warn of, in this process."""
    silence("pydicom", "pynetdicom")
    config.settings.reading_validation_mode = config.IGNORE
