"""DICOM libraries that say nothing: their log lines and warnings quote attributes of patients."""

from __future__ import annotations

import logging
import warnings

from pydicom import config

LIBRARIES = ("pydicom", "pynetdicom")


def silence_libraries() -> None:
    """Turn off what pydicom and pynetdicom log and warn of, in this process."""
    for name in [*LIBRARIES, *logging.root.manager.loggerDict]:
        if name.partition(".")[0] in LIBRARIES:
            logger = logging.getLogger(name)
            logger.setLevel(logging.CRITICAL + 1)
            logger.propagate = False
    warnings.filterwarnings("ignore", module=r"(pydicom|pynetdicom)(\..*)?")
    config.settings.reading_validation_mode = config.IGNORE
