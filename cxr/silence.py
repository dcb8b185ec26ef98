"""Libraries that say nothing: their log lines and warnings quote attributes of patients."""

from __future__ import annotations

import logging
import re
import warnings


def silence(*libraries: str) -> None:
    """Turn off for good what libraries log and warn of, in this process.

    For good, because what is set and reset around a call (``warnings.catch_warnings``) would be
    lifted by another thread's. Log lines are kept from all handlers but ones put on a library's
    own logger, so nobody hears them by setting levels.

    Args:
        *libraries: Names of packages; they need not be loaded yet.
    """
    for name in libraries:
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())  # without one, warnings go to standard error
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=rf"{re.escape(name)}(\.|$)")
