"""Every knob, with its unit, its default and the formula that ties it to its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10

from crdtpubsub.errors import ConfigError

__all__ = ["Config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Knobs of a node. The defaults suit a local network of up to some hundred nodes.

    Raises:
        ConfigError: a relation that must hold does not; the message names it.
    """

    # -------------------------------------------------- failure detection
    probe_interval_s: float = 0.5
    """One peer is probed each interval. Longer: less traffic, slower detection."""

    probe_timeout_min_s: float = 0.15
    probe_timeout_max_s: float = 0.4
    """An answer is due after 3 x the measured round trip, kept between these two; the larger
    must be below `probe_interval_s`."""

    indirect_probes: int = 3
    """How many peers are asked to probe in our place when an answer is late."""

    suspicion_mult: float = 4.0
    suspicion_max_mult: float = 4.0
    """Suspicion lasts `suspicion_mult * max(1, log10 N) * probe_interval_s`, and up to
    `suspicion_max_mult` times that while confirmations are missing (Lifeguard)."""

    forget_after_s: float = 1200.0
    """A life that was down this long is purged locally. At least 10 x the longest suspicion."""

    goodbye_kept_s: float = 60.0
    """A goodbye of a life that is not held is remembered this long."""

    # -------------------------------------------------- gossip
    gossip_interval_s: float = 1.0
    """A round goes to one random peer each interval, +- 20 %."""

    push_interval_s: float = 0.005
    """The first push goes out at once, the next ones at most this often."""

    slice_births: int = 512
    """Births merged, encoded or purged in one hold of the lock: about 1 ms of work."""

    transfer_births: int = 400
    """Live births in one frame of a state transfer, some 10 to 30 kB: to encode or decode it
    holds up a caller for about a millisecond."""

    sums_births: int = 4096
    """Of more births than this, sums are compared before the births are listed one by one."""

    # -------------------------------------------------- dialling
    hello_interval_s: float = 0.5
    """HELLO is repeated this often until answered."""

    redial_interval_s: float = 1.0
    """One address of the book, a seed or a down life is greeted each interval."""

    discovery_interval_s: float = 5.0
    """A `dns://` seed is resolved again, and the directory of this host looked at again, this
    often. Above 0."""

    address_book_max: int = 64
    candidates_max: int = 256
    """Lives that were named and not met yet; one peer's word fills at most half of it."""

    peers_max: int = 4096
    """Lives held. Who comes when all places are taken replaces the life that is down the longest;
    without one it is not admitted, counted as `peers_full`. At least 1."""

    # -------------------------------------------------- bounds
    owner_members_max: int = 4_000_000
    """Live memberships held of one other owner in one scope, some 150 bytes each. What would add
    to them is not merged, counted as `owner_full`, and asked for again in time. At least 1."""

    payload_bytes_max: int = 16 * 1024 * 1024
    meta_bytes_max: int = 4096
    """Both at most their defaults: what the wire can carry."""

    outbox_bytes_max: int = 16 * 1024 * 1024
    """Queued for one peer, beyond which publications are refused and gossip is dropped."""

    outboxes_bytes_max: int = 64 * 1024 * 1024
    """Queued for all peers together; a long message is counted once for all. What is left of it
    is what one peer may have: few slow peers get much each, many little, each 256 KiB at least.
    At least 17 MiB, or the longest message would not pass."""

    outbox_high_water_bytes: int = 1024 * 1024
    """`await publish()` suspends while a healthy peer's outbox is above this."""

    publish_stall_s: float = 0.5
    """A peer above the mark that took nothing for this long holds no publisher any more:
    it is refused until it has drained."""

    publish_wait_max_s: float = 1.0
    """The longest one `await publish()` waits for a peer that is slow but does take frames."""

    link_credit_bytes: int = 1024 * 1024
    """Sent on a link and not yet taken by the peer, beyond which only what keeps the link alive
    is sent: what waits inside ZeroMQ and TCP delays every probe. A link starts with 32 KiB and
    gets more as long as it answers quickly. At least 256 KiB, and `frame_bytes`."""

    frame_bytes: int = 64 * 1024
    """Messages are packed into frames up to this size; a longer one is cut into chunks. At most
    512 KiB. A link that turns out to be slow gets smaller ones, down to 16 KiB."""

    assemblies_bytes_max: int = 64 * 1024 * 1024
    """Long messages of all peers that have begun to arrive, beyond which one is dropped."""

    def __post_init__(self) -> None:
        """Check the relations."""
        self._need(0 < self.probe_timeout_min_s <= self.probe_timeout_max_s, "probe_timeout_min_s")
        self._need(self.probe_timeout_max_s < self.probe_interval_s, "probe_timeout_max_s")
        self._need(self.discovery_interval_s > 0, "discovery_interval_s")
        self._need(self.suspicion_max_mult >= 1, "suspicion_max_mult")
        self._need(self.forget_after_s >= 10 * self.suspicion_max_s(1), "forget_after_s")
        self._need(self.outbox_high_water_bytes <= self.outbox_bytes_max, "outbox_high_water_bytes")
        self._need(self.frame_bytes <= self.outbox_bytes_max, "frame_bytes")
        self._need(self.outboxes_bytes_max >= 17 * 1024 * 1024, "outboxes_bytes_max")
        self._need(self.peers_max >= 1, "peers_max")
        self._need(self.owner_members_max >= 1, "owner_members_max")
        self._need(0 < self.frame_bytes <= 512 * 1024, "frame_bytes")
        self._need(self.assemblies_bytes_max >= 17 * 1024 * 1024, "assemblies_bytes_max")
        self._need(0 <= self.payload_bytes_max <= 16 * 1024 * 1024, "payload_bytes_max")
        self._need(0 <= self.meta_bytes_max <= 4096, "meta_bytes_max")
        self._need(1 <= self.sums_births <= 4096, "sums_births")
        self._need(self.link_credit_bytes >= max(self.frame_bytes, 256 * 1024), "link_credit_bytes")

    def suspicion_min_s(self, nodes: int) -> float:
        """The seconds a suspect has to refute when enough others confirm.

        Args:
            nodes: how many there are, at least 1.
        """
        return self.suspicion_mult * max(1.0, log10(max(nodes, 1))) * self.probe_interval_s

    def suspicion_max_s(self, nodes: int) -> float:
        """The seconds it has when nobody else confirms.

        Args:
            nodes: as for `suspicion_min_s`.
        """
        return self.suspicion_max_mult * self.suspicion_min_s(nodes)

    def _need(self, holds: bool, knob: str) -> None:
        if not holds:
            raise ConfigError(
                f"Config.{knob} = {getattr(self, knob)!r} contradicts its neighbours; "
                f"see the docstring of Config.{knob} for the relation that must hold"
            )
