"""The page about the gateway: its settings exist, and its bounds are the code's."""

from __future__ import annotations

import re

import pytest

from service.gateway.dimse import association_request
from service.gateway.dimse import messages as bounded_messages
from service.gateway.dimse import timed_socket as sockets
from service.gateway.receive import dimse
from service.gateway.receive import to_disk as dimse_receiving
from service.gateway.settings import GatewaySettings
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "gateway.md").read_text()
FIELDS = GatewaySettings.model_fields


def test_page_names_settings_that_exist() -> None:
    """And no others, nor beginnings that lead nowhere."""
    for name, is_beginning in re.findall(r"CXR_GATEWAY_([A-Z_]+)(\*?)", PAGE):
        known = [field.upper() for field in FIELDS if field.upper().startswith(name)]
        assert known if is_beginning or not name else name in known, name


@pytest.mark.parametrize("name", ["dimse_max_waiting", "dimse_request_s", "dimse_max_associations"])
def test_page_tells_defaults(name: str) -> None:
    """Where it says how much a peer may take."""
    [told] = re.findall(rf"`CXR_GATEWAY_{name.upper()}` \((\d+)", PAGE)
    assert float(told) == FIELDS[name].default


@pytest.mark.parametrize(
    "told",
    [
        f"{association_request.LONGEST_REQUEST_BYTES:,} bytes, "
        f"{association_request.MOST_ITEMS:,} items",
        f"{sockets.LONGEST_PDU_BYTES:,} bytes; {sockets.MAX_PDU_BYTES:,} is what peers are told",
        f"| {dimse.NETWORK_TIMEOUT_S} s |",
        f"{bounded_messages.MAX_COMMAND_BYTES:,} bytes; "
        f"{bounded_messages.MAX_DATA_SET_BYTES // 2**20} MiB",
        f"beyond {dimse_receiving.MOST_OF_LARGEST} times that",
        f"{bounded_messages.SLOWEST_BYTES_PER_S:,} bytes a second after its first minute",
        f"| {bounded_messages.MOST_WAITING} | A-ABORT |",
    ],
)
def test_page_tells_bounds(told: str) -> None:
    """As they are in the code."""
    assert told in PAGE
