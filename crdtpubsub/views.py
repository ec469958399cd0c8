"""What users see of the cluster: values built on read, and cached until they may be wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

from crdtpubsub.arguments import check_prefix
from crdtpubsub.errors import ConfigError
from crdtpubsub.names import NodeId, check_channel, is_name
from crdtpubsub.runtime import Runtime
from crdtpubsub.wire.payload import unpack

__all__ = ["Address", "Member", "Peer", "Stats", "Views"]

_MEMBERS_CACHED: Final = 65_536
_LIFE: Final = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Member:
    """One client in one channel, wherever it lives.

    Attributes:
        channel: the channel it is in.
        id: the client's id, unique on its node.
        node: the node that owns it; equals that node's `Node.id`.
        packed_meta: its metadata as they travelled; empty if there are none.
        down: its node cannot be reached, as far as this node knows: `Node.members` does not list
            it, `include_down=True` does, and it is back with its node. Who *left* is in neither.
            Two members that differ in this alone are equal.
        group: the queue group it joined with; '' if none, and it gets every message.
    """

    channel: str
    id: str
    node: NodeId
    packed_meta: bytes = field(default=b"", repr=False)
    down: bool = field(default=False, compare=False)
    group: str = ""

    @property
    def meta(self) -> object:
        """What was said with `join` or `update`, unpacked at each access; or None.

        Raises:
            PayloadError: its owner sent what does not unpack; nobody else is bothered by it.
        """
        return unpack(self.packed_meta) if self.packed_meta else None


@dataclass(frozen=True, slots=True)
class Address:
    """Where one client can be reached, whatever it is a member of: `Client.address`.

    `str(address)` travels in any payload and header; `Address.parse` reads it. It names one life
    of a process: a restarted one has other clients, with other addresses.

    Attributes:
        node: the node the client lives on.
        client: its id there.
    """

    node: NodeId
    client: str

    def __str__(self) -> str:
        return f"{self.client}@{self.node}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The address that `str` wrote.

        Args:
            text: what `str(address)` gave; it may come from anybody.

        Raises:
            ConfigError: it is none.
        """
        client, at, node = text.rpartition("@")
        if not at or not is_name(client) or not _LIFE.fullmatch(node):
            raise ConfigError(f"{text!r:.120} is no address; use str(client.address)")
        return cls(NodeId(node), client)


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, as this one sees it.

    Attributes:
        node: its life; a restart is another one.
        name: its human label.
        endpoint: where it can be dialled.
        state: `alive`, `suspect` (still listed) or `down` (hidden until it answers).
        linked: whether messages can be sent to it directly.
    """

    node: NodeId
    name: str
    endpoint: str
    state: str
    linked: bool


@dataclass(frozen=True, slots=True)
class Stats:
    """An immutable snapshot of a node: its counters, and how much it holds at that moment.

    Attributes:
        counters: every counter by name, from the start of the node; those that end in `_bytes`
            say how many there are now. The names are for people: more may come in any release.
        peers: how many peers are held, by state: `alive`, `suspect`, `down`.
        channels: channels known here, in this scope.
        members: members listed here, in this scope.
        linked: peers that messages can be sent to directly.
        clients: clients of this node, in all scopes.
    """

    counters: Mapping[str, int]
    peers: Mapping[str, int]
    channels: int
    members: int = 0
    linked: int = 0
    clients: int = 0


class Views:
    """The reads of one scope of a node. Each takes the lock for a moment, or not at all.

    Raises, from every method:
        ClosedError: the node does not run, or the scope is not open.
        ForkedError: it runs in the parent of this process.
    """

    def __init__(self, runtime: Runtime, scope: str) -> None:
        self._runtime = runtime
        self._scope = scope
        self._members: dict[str, tuple[Member, ...]] = {}
        runtime.on_change(self._forget)

    def members(self, channel: str) -> tuple[Member, ...]:
        """Everybody listed, from the cache if nothing changed since it was made."""
        self._runtime.check()
        try:
            known = self._members.get(channel)
        except TypeError:  # a list, say
            known = None
        if known is None:
            check_channel(channel)
            with self._runtime.core.lock:  # also against a change between reading and caching
                known = self._build(channel, include_down=False)
                if len(self._members) >= _MEMBERS_CACHED:
                    self._members.clear()
                self._members[channel] = known
        return known

    def members_with_down(self, channel: str) -> tuple[Member, ...]:
        """The same with those whose node is down, and may come back."""
        self._runtime.check()
        check_channel(channel)
        with self._runtime.core.lock:
            return self._build(channel, include_down=True)

    def _build(self, channel: str, *, include_down: bool) -> tuple[Member, ...]:
        engine = self._runtime.core.engine
        extra_of = engine.set_of(self._scope).extra
        found: list[Member] = []
        for owner, client, birth in engine.members(self._scope, channel, include_down=include_down):
            _, group, meta = extra_of(owner, birth)
            found.append(Member(channel, client, owner, meta, not engine.listed(owner), group))
        return tuple(found)

    def count(self, channel: str) -> int:
        """How many are listed."""
        self._runtime.check()
        check_channel(channel)
        if (known := self._members.get(channel)) is not None:
            return len(known)
        with self._runtime.core.lock:
            return self._runtime.core.engine.route(self._scope, channel).members

    def channels(self, prefix: str) -> tuple[str, ...]:
        """Channels with a listed member or declaration, sorted."""
        check_prefix(prefix)
        self._runtime.check()
        with self._runtime.core.lock:
            self._runtime.core.engine.set_of(self._scope)  # raises if it is not open
            names = self._runtime.core.engine.channels(self._scope)
        return tuple(name for name in names if name.startswith(prefix))

    def local_channels(self, prefix: str) -> tuple[str, ...]:
        """Channels this node is in or has declared, sorted."""
        check_prefix(prefix)
        self._runtime.check()
        with self._runtime.core.lock:
            members = self._runtime.core.engine.set_of(self._scope)
            names = sorted(members.channels_of(self._runtime.id))
        return tuple(name for name in names if name.startswith(prefix))

    def channels_of(self, client: str) -> tuple[str, ...]:
        """Channels one client of this node is a member of, sorted; none once it is closed."""
        if self._runtime.closed:
            return ()
        self._runtime.check()
        with self._runtime.core.lock:
            mailbox = self._runtime.core.mailboxes.get(client)
            if mailbox is None or mailbox.scope != self._scope:
                return ()
            return tuple(sorted(mailbox.channels))

    def peers(self) -> tuple[Peer, ...]:
        """Every other node held, sorted by id."""
        self._runtime.check()
        with self._runtime.core.lock:
            return tuple(
                Peer(p.node, p.name, p.endpoint, str(p.state), p.linked)
                for p in self._runtime.core.engine.peers()
            )

    def stats(self) -> Stats:
        """Every counter, and all sizes, as they are at one moment."""
        self._runtime.check()
        core = self._runtime.core
        with core.lock:
            counters = self._runtime.snapshot()
            peers = core.engine.peers()
            core.engine.set_of(self._scope)  # raises if it is not open
            channels = core.engine.channels(self._scope)
            members = sum(core.engine.route(self._scope, name).members for name in channels)
            clients = len(core.mailboxes)
        return Stats(
            MappingProxyType(counters),
            MappingProxyType(dict(Counter(str(peer.state) for peer in peers))),
            len(channels),
            members,
            sum(peer.linked for peer in peers),
            clients,
        )

    def _forget(self, channels: Iterable[str] | None) -> None:
        if channels is None:
            self._members.clear()
            return
        for channel in channels:
            self._members.pop(channel, None)
