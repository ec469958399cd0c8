"""A node's counters for Prometheus: the extra `metrics` (`pip install 'crdtpubsub[metrics]'`).

```
from prometheus_client import REGISTRY, start_http_server
REGISTRY.register(NodeCollector(node))
start_http_server(9000, addr="127.0.0.1")
```

Names and units are those of the field: `crdtpubsub_..._total` for what only grows, bytes for sizes.
No label names a channel, a client or a peer: the number of series does not grow with the cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from crdtpubsub.errors import ClosedError, ForkedError
from crdtpubsub.node import Node
from crdtpubsub.sync import SyncNode
from crdtpubsub.views import Stats

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "crdtpubsub.metrics needs prometheus-client: pip install 'crdtpubsub[metrics]'"
    ) from error

__all__ = ["NodeCollector"]

GAUGES: Final = {
    "outbox_bytes": "Bytes queued for links, a message for several links counted for each.",
    "outboxes_bytes": "Bytes that all outboxes hold in memory, each message counted once.",
    "mailbox_bytes": "Bytes of messages that wait to be read by clients of this node.",
}
"""Counters of `Stats` that rise and fall."""

COUNTERS: Final = {
    "publications": ("publications", "Publications made by this node."),
    "publications_sent": ("publications_sent", "Publications queued for peers, one per owner."),
    "publications_acknowledged": (
        "publications_acknowledged",
        "Publications that the peer they were sent to has acknowledged.",
    ),
    "publications_unsent": (
        "publications_unsent",
        "Publications that were still queued here when their link broke: lost.",
    ),
    "publications_unacknowledged": (
        "publications_unacknowledged",
        "Publications under way when their link broke: they may have arrived.",
    ),
    "publications_refused": (
        "publications_refused",
        "Publications that were not queued for an owner: no link to it, or it reads too slowly.",
    ),
    "publications_received": ("publications_received", "Publications that came from peers."),
    "publications_lost": (
        "publications_lost",
        "Publications that were sent to this node and never came.",
    ),
    "delivered": ("messages_delivered", "Messages put into the queues of clients of this node."),
    "mailbox_dropped": (
        "messages_dropped",
        "Messages that the full queues of slow clients of this node have lost.",
    ),
    "confirmed": ("confirmed_publications", "Confirmed publications made by this node."),
    "dropped_publications": (
        "outbox_dropped_publications",
        "Publications that a full or broken outbox has dropped.",
    ),
    "dropped_gossip": (
        "outbox_dropped_gossip",
        "Gossip records that a full outbox has dropped; repaired later.",
    ),
    "frames": ("frames_received", "Frames that came and were understood."),
    "frames_malformed": ("frames_malformed", "Frames that came and were dropped as malformed."),
    "watch_resyncs": ("watch_resyncs", "Slow watchers that began again with a snapshot."),
    "transport_frames_out": ("frames_sent", "Frames handed to ZeroMQ."),
    "transport_bytes_out": ("sent_bytes", "Bytes handed to ZeroMQ."),
    "transport_bytes_in": ("received_bytes", "Bytes received from ZeroMQ."),
    "transport_strangers_refused": (
        "strangers_refused",
        "Connections refused: they share no secret with this node.",
    ),
}
"""Counters with a metric of their own: its name, without prefix and suffix, and its help."""

REST: Final = "Everything else that this node counts, by the name it has in Stats.counters."


class NodeCollector(Collector):
    """What one node counts, read anew at each scrape: `registry.register(NodeCollector(node))`.

    One snapshot (`Node.stats`) is taken per scrape, so that the figures of a scrape belong
    together. For any thread. A node that is not started, or closed, is no error: only
    `crdtpubsub_running 0` is told of it. Each node of a process needs a registry of its own.
    """

    def __init__(self, node: Node | SyncNode) -> None:
        """Args: node: the node; it need not run yet, and is kept alive by this."""
        self._node = node

    def describe(self) -> list[Metric]:
        """Every metric, without values, so that the registry finds names used twice."""
        return [_running(value=False), *_families(Stats({}, {}, 0))]

    def collect(self) -> Iterator[Metric]:
        """Every metric, from one snapshot."""
        try:
            stats = self._node.stats()
        except (ClosedError, ForkedError):
            yield _running(value=False)
            return
        yield _running(value=True)
        yield from _families(stats)


def _running(*, value: bool) -> Metric:
    return GaugeMetricFamily("crdtpubsub_running", "Whether the node runs: 1 or 0.", value=value)


def _families(stats: Stats) -> Iterator[Metric]:
    peers = GaugeMetricFamily(
        "crdtpubsub_peers", "Other nodes that are held, by state.", labels=["state"]
    )
    for state in sorted({"alive", "suspect", "down", *stats.peers}):
        peers.add_metric([state], stats.peers.get(state, 0))
    yield peers
    sizes = {
        "peers_linked": ("Other nodes that messages can be sent to directly.", stats.linked),
        "channels": ("Channels known here, in the default scope.", stats.channels),
        "members": ("Members listed here, in the default scope.", stats.members),
        "clients": ("Clients of this node, in all scopes.", stats.clients),
    }
    for name, (about, size) in sizes.items():
        yield GaugeMetricFamily(f"crdtpubsub_{name}", about, value=size)
    left = dict(stats.counters)
    for counter, about in GAUGES.items():
        yield GaugeMetricFamily(f"crdtpubsub_{counter}", about, value=left.pop(counter, 0))
    for counter, (name, about) in COUNTERS.items():
        yield CounterMetricFamily(f"crdtpubsub_{name}", about, value=left.pop(counter, 0))
    rest = CounterMetricFamily("crdtpubsub_counted", REST, labels=["counter"])
    for counter in sorted(left):
        rest.add_metric([counter], left[counter])
    yield rest
