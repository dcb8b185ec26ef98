"""Silence libraries whose log lines and warnings quote attributes of patients."""

from __future__ import annotations

import logging
import re
import warnings


def silence(*libraries: str) -> None:
    """Turn off what packages log and warn of, in all threads, for the life of this process."""
    for name in libraries:
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())  # without one, warnings go to standard error
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=rf"{re.escape(name)}(\.|$)")
