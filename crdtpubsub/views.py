"""What users see of the cluster: values built on read, and cached until they may be wrong."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Self

from crdtpubsub.arguments import check_prefix
from crdtpubsub.crdt.owner import Roll
from crdtpubsub.errors import ConfigError
from crdtpubsub.names import NodeId, check_channel, is_name
from crdtpubsub.runtime import Runtime
from crdtpubsub.runtime.rosters import Roster, Rosters
from crdtpubsub.wire.payload import unpack

__all__ = ["Address", "Member", "Peer", "Stats", "Views"]

_BUILT_UNDER_LOCK: Final = 256
"""Lists of so few members are made at once: two holds of the lock would take longer."""

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
        self._rosters = Rosters[Member](scope)
        self.listed = self._rosters.listed
        """Channel -> members, where they were read and nobody came or went since."""
        runtime.rosters.keep(self._rosters)

    def members(self, channel: str) -> tuple[Member, ...]:
        """Everybody listed. Who has looked into `listed` and found nothing calls this."""
        runtime = self._runtime
        runtime.check()
        check_channel(channel)
        engine = runtime.core.engine
        with runtime.core.lock:
            if (known := self.listed.get(channel)) is not None:
                return known
            roster = self._rosters.begin(channel)
            if roster.members is not None:
                return self._mended(channel, roster, roster.members)
            if engine.count(self._scope, channel) <= _BUILT_UNDER_LOCK:
                return self._renewed(channel, roster, self._build(channel, include_down=False))
            rolls = self._rolls(channel)
        # Many: their tables are copied, which takes C no time, and the rest is made of the copies.
        found = [
            Member(channel, client, owner, extra[2], False, extra[1])
            for owner, roll in rolls
            for _, client, _, extra in roll
        ]
        with runtime.core.lock:
            if self._rosters.rosters.get(channel) is not roster:
                return tuple(found)  # as it was when this was asked; too much changed since
            return self._mended(channel, roster, found)

    def _rolls(self, channel: str) -> list[tuple[NodeId, Roll]]:
        engine = self._runtime.core.engine
        members = engine.set_of(self._scope)
        owners = sorted(filter(engine.listed, members.by_owner(channel)))
        return [(owner, members.roll(owner, channel)) for owner in owners]

    def _mended(
        self, channel: str, roster: Roster[Member], found: Sequence[Member]
    ) -> tuple[Member, ...]:
        """The list with those who were touched put right."""
        engine = self._runtime.core.engine
        clients_of, extra_of = engine.set_of(self._scope).clients, engine.set_of(self._scope).extra
        mended = list(found)
        for key in roster.touched:
            owner, client = key
            birth = clients_of(owner, channel).get(client)
            there: list[Member] = []
            if birth is not None and engine.listed(owner):
                _, group, meta = extra_of(owner, birth)
                there = [Member(channel, client, owner, meta, False, group)]
            at = bisect_left(mended, key, key=_place)
            known = at < len(mended) and _place(mended[at]) == key
            mended[at : at + known] = there
        return self._renewed(channel, roster, tuple(mended))

    def _renewed(
        self, channel: str, roster: Roster[Member], members: tuple[Member, ...]
    ) -> tuple[Member, ...]:
        self._rosters.renewed(channel, roster, members)
        if self._runtime.closed:  # since this was begun: whoever asks now is to be told so
            self._rosters.lost()
        return members

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
        if (known := self.listed.get(channel)) is not None:
            return len(known)
        with self._runtime.core.lock:
            return self._runtime.core.engine.count(self._scope, channel)

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


def _place(member: Member) -> tuple[NodeId, str]:
    return member.node, member.id
