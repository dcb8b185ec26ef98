"""Who is measured beside the limit: the service, and the same graphs behind other servers."""

from __future__ import annotations

from pathlib import Path

from benchmarks.engine import graphs_of
from benchmarks.options import Options
from benchmarks.peers.environment import PEERS
from benchmarks.peers.start import start_peer
from benchmarks.rounds import MOSEC, SERVICE
from benchmarks.server import Server, start_service
from cxr.bundles.manifest import MANIFEST_NAME
from service.engines.machine import usable_cores

PRECISIONS = ("int8", "fp32")


class Contestants:
    """Starts the service and the peers with one model.

    Args:
        model: Its name.
        options: Of the run.
        sample: A file to try.

    Attributes:
        names: Of those that the run's parts ask for, the service first, and mosec next to it.
    """

    def __init__(self, model: str, options: Options, sample: bytes) -> None:
        self._model = model
        self._options = options
        self._sample = sample
        self._bundle = options.bundles / model
        peers = [f"{peer}, {one}" for one in PRECISIONS if one in self._graphs() for peer in PEERS]
        if "peers" not in options.parts:
            peers = [peer for peer in peers if peer == MOSEC and "mosec" in options.parts]
        self.names = (SERVICE, *peers)

    @property
    def has_int8(self) -> bool:
        """Whether peers can be given an int8 graph."""
        return "int8" in self._graphs()

    def start(self, name: str) -> Server:
        """Start the service or a peer by name.

        Raises:
            MeasureError: It cannot be installed or does not start.
        """
        options = self._options
        if name == SERVICE:
            return start_service(options.bundles, self._model, self._sample, options.settings)
        peer, precision = name.split(", ")
        return start_peer(
            peer,
            options.cache,
            self._graphs()[precision],
            self._bundle / MANIFEST_NAME,
            self._sample,
            usable_cores(),
            options.peer_capacity,
        )

    def _graphs(self) -> dict[str, Path]:
        given = self._options.int8
        return graphs_of(self._bundle) | ({"int8": given} if given else {})
