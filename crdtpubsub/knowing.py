"""Who is there, who came and went, and who else knows: the half of `Node` that looks and waits."""

from __future__ import annotations

from typing import Final

from crdtpubsub.arguments import check_timeout
from crdtpubsub.crdt.token import Token
from crdtpubsub.engine import events as ev
from crdtpubsub.engine.knowing import NO_LINK
from crdtpubsub.errors import ConfigError, NotSeenError, QueueFullError
from crdtpubsub.names import NodeId, check_channel
from crdtpubsub.publishing import Publisher
from crdtpubsub.runtime import Runtime, WatchFeed
from crdtpubsub.views import Member, Peer, Stats, Views
from crdtpubsub.waiting import Events, wait_until, wait_until_seen
from crdtpubsub.watching import Watch, WatchReader

__all__ = ["Knower"]

_ASK_AGAIN_S: Final = 0.1


class Knower(Publisher):
    """Presence and knowing. `Node` is one; it is no class of its own for users."""

    def __init__(self, runtime: Runtime, scope: str, views: Views) -> None:
        """Look through that runtime, at that scope, which those are the views of."""
        super().__init__(runtime, scope)
        self._views = views

    def watch(self, channel: str | None = None, *, prefix: str | None = None) -> Watch:
        """Who is there, and then who comes and goes: `async for item in node.watch("room")`.

        First one `Snapshot`, of the moment of the first read, then a `Change` for whatever
        happens: no gap, no double, and one `Change` for all members of a node that dies. A
        reader that falls 1,024 changes behind gets a fresh `Snapshot` in their place (counted as
        `watch_resyncs`, and told as `SlowWatcher`). Nothing is said of declared channels
        without members. Nobody who is updated is absent in between.

        Args:
            channel: of that channel alone; None: of every one that begins with `prefix`.
            prefix: None or "": of every channel.

        Raises:
            ConfigError: both were given.
            InvalidNameError: `channel` is no name.
        """
        if channel is not None:
            check_channel(channel)
            if prefix is not None:
                raise ConfigError("watch a channel or a prefix, not both")
        feed = WatchFeed(self._scope, channel, prefix or "")
        return Watch(WatchReader(self._runtime, feed))

    async def wait_for(
        self, channel: str, count: int = 1, *, timeout: float | None = None
    ) -> tuple[Member, ...]:
        """Wait until `channel` has enough members, and return all of them.

        Args:
            channel: any; it need not exist yet.
            count: at least so many.
            timeout: seconds to wait; None waits for ever.

        Raises:
            TimeoutError: it had fewer; the message says how many.

        Cancelling it changes nothing.
        """
        check_channel(channel)
        check_timeout(timeout)
        if type(count) is not int:
            raise ConfigError(f"count={count!r:.80}: wait for how many members?")
        await wait_until(
            self._runtime.bell,
            lambda: self._views.count(channel) >= count,
            timeout_s=timeout,
            complaint=lambda: (
                f"{channel!r} has {self._views.count(channel)} members "
                f"after {timeout} s, not {count}"
            ),
        )
        return self._views.members(channel)

    def token(self) -> Token:
        """What this node wrote that some peer may not have, small enough to travel.

        It names the joins, removals and updates made here that not every peer held has confirmed
        (they do, in passing, within seconds), and how many joins there were. `str(token)` goes
        into any payload, header or cookie; `Token.parse` reads it on the other node, for
        `publish(after=)` or `synced` there.

        Raises:
            QueueFullError: since the last confirmation there were about 250 removals or updates
                far apart, more than a token can say: `await synced()` first.
            ClosedError, ForkedError
        """
        self._runtime.check()
        with self._runtime.core.lock:
            token = self._runtime.core.engine.knowing.token(self._scope)
        if token is None:
            raise QueueFullError("too many separate writes for a token: `await synced()` first")
        return token

    async def synced(self, token: Token | None = None, *, timeout: float | None = None) -> None:
        """Wait until every live peer has seen the token; without one, all this node wrote so far.

        One round trip when all is quiet. From then on each of them lists what nobody has removed
        since, and lists nothing of what was removed. A peer that is down is not waited for, nor
        one that this node has not met yet; one without a link cannot be asked. One that takes no
        more members of an owner (`Config.owner_members_max`) has not seen those beyond.

        Args:
            token: of this or another node; then this node itself must have seen it, too.
            timeout: seconds; None waits for ever.

        Raises:
            NotSeenError: somebody has not, or cannot be asked: it says who, and why.
            TimeoutError: the same, without a token, after more separate writes than `token` can
                name: it waits as `converged` then, and the message says for whom.
            ClosedError, ForkedError

        Cancelling it changes nothing.
        """
        check_timeout(timeout)
        if token is None:
            self._runtime.check()
            with self._runtime.core.lock:
                token = self._runtime.core.engine.knowing.token(self._scope)
        if token is not None:
            await wait_until_seen(self._runtime, token, timeout_s=timeout)
            return
        if skipped := await self.converged(timeout=timeout):
            missing = {str(peer.node): (peer.name, NO_LINK) for peer in skipped}
            raise NotSeenError(missing=missing, waited_s=timeout)

    async def converged(self, *, timeout: float | None = None) -> tuple[Peer, ...]:
        """Wait until every live linked peer has shown rows equal to ours, in every open scope.

        About one round trip when all is quiet; while others write without a pause it may take
        long: ask with `synced` for your own writes. Rows stay unequal while an owner has more
        members than a node takes, `Config.owner_members_max`. Cancelling it changes nothing.

        Args:
            timeout: seconds to wait; None waits for ever, also for what will not come before some
                members of such an owner have left: `LimitReached` tells of that.

        Returns:
            The peers it skipped: alive, and without a link, so that they cannot be asked.

        Raises:
            TimeoutError: somebody has not; the message names them, those it skipped, and owners
                with as many members here as `Config.owner_members_max` lets in, this node too.
        """
        check_timeout(timeout)
        runtime = self._runtime
        runtime.check()
        engine = runtime.core.engine
        stamps = {scope: runtime.write(ev.AskRows(scope)) for scope in engine.scopes()}

        def unequal() -> set[NodeId]:
            runtime.check()
            with runtime.core.lock:
                still = [scope for scope in stamps if scope in engine.scopes()]
                return set().union(*[engine.unequal(scope, stamps[scope]) for scope in still])

        def again() -> None:
            for scope in stamps:
                if scope in engine.scopes():
                    runtime.write(ev.AskRows(scope))

        def skipped() -> tuple[Peer, ...]:
            with runtime.core.lock:
                scopes = {p.node: p.fact.scopes for p in engine.peers() if p.up and not p.linked}
            shared = [life for life, some in scopes.items() if not stamps.keys().isdisjoint(some)]
            return tuple(peer for peer in self._views.peers() if peer.node in shared)

        def overfull() -> set[NodeId]:
            bound = runtime.config.owner_members_max
            with runtime.core.lock:
                sets = [engine.set_of(scope) for scope in stamps if scope in engine.scopes()]
                return {life for held in sets for life in held.owners() if held.size(life) >= bound}

        def complaint() -> str:
            who = unequal()
            names = ", ".join(p.name for p in self._views.peers() if p.node in who)
            without = ", ".join(p.name for p in skipped())
            also = f"; not asked, for want of a link: {without}" if without else ""
            full, bound = overfull(), f"Config.owner_members_max={runtime.config.owner_members_max}"
            if there := ", ".join(p.name for p in self._views.peers() if p.node in full):
                also += f"; of {there} no more members are taken here than {bound}"
            if runtime.id in full:
                also += f"; this node has as many members as others may take of it: here {bound}"
            return f"not converged with {names} after {timeout} s{also}"

        await wait_until(
            runtime.bell,
            lambda: not unequal(),
            timeout_s=timeout,
            complaint=complaint,
            again_s=_ASK_AGAIN_S,
            again=again,
        )
        return skipped()

    def events(self) -> Events:
        """What an operator should know, from this call on: `async for notice in node.events()`.

        `PeerUp`, `PeerDown`, `PeerLeft`, `NameShared`, `Unanswered`, `Refused`, `Gap`, `Lost`,
        `SlowConsumer`, `SlowWatcher`, `LimitReached`, `Claimed`; what they mean and what to do
        about it say their docstrings. Each iterator has a queue of its own, of 1,024: one that is
        read too slowly gets `Missed` with the number of the oldest that were dropped. Ends when
        the node is closed. May be called before `start`.
        """
        return Events(self._runtime.board.feed())

    def stats(self) -> Stats:
        """An immutable snapshot of every counter."""
        return self._views.stats()
