"""Who is there, who came and went, and who else knows: the half of `Node` that looks and waits."""

from __future__ import annotations

from typing import Final

from crdtpubsub.engine import events as ev
from crdtpubsub.errors import ConfigError
from crdtpubsub.names import DEFAULT_SCOPE, NodeId, check_channel
from crdtpubsub.publishing import Publisher
from crdtpubsub.runtime import Runtime, WatchFeed
from crdtpubsub.views import Member, Stats, Views
from crdtpubsub.waiting import Events, wait_until
from crdtpubsub.watching import Watch, WatchReader

__all__ = ["Knower"]

_ASK_AGAIN_S: Final = 0.1


class Knower(Publisher):
    """Presence and knowing. `Node` is one; it is no class of its own for users."""

    def __init__(self, runtime: Runtime) -> None:
        """Look through that runtime."""
        super().__init__(runtime)
        self._views = Views(runtime)

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
        feed = WatchFeed(DEFAULT_SCOPE, channel, prefix or "")
        return Watch(WatchReader(self._runtime, feed))

    async def wait_for(
        self, channel: str, count: int = 1, *, timeout: float | None = None
    ) -> tuple[Member, ...]:
        """Wait until `channel` has at least `count` members, and return them.

        Raises:
            TimeoutError: it had fewer after `timeout` seconds; the message says how many.
        """
        check_channel(channel)
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

    async def converged(self, *, timeout: float | None = None) -> None:
        """Wait until every live linked peer has shown rows equal to ours since the call.

        About one round trip when all is quiet. Peers that are alive without a link to us are
        not asked.

        Raises:
            TimeoutError: somebody has not; the message names them.
        """
        runtime = self._runtime
        first = runtime.write(ev.AskRows(DEFAULT_SCOPE))

        def unequal() -> tuple[NodeId, ...]:
            runtime.check()
            with runtime.core.lock:
                return runtime.core.engine.unequal(DEFAULT_SCOPE, first)

        def complaint() -> str:
            who = unequal()
            names = ", ".join(p.name for p in self._views.peers() if p.node in who)
            return f"not converged with {names} after {timeout} s"

        await wait_until(
            runtime.bell,
            lambda: not unequal(),
            timeout_s=timeout,
            complaint=complaint,
            again_s=_ASK_AGAIN_S,
            again=lambda: runtime.write(ev.AskRows(DEFAULT_SCOPE)),
        )

    def events(self) -> Events:
        """What an operator should know, from this call on: `async for notice in node.events()`.

        `PeerUp`, `PeerDown`, `PeerLeft`, `NameShared`, `Unanswered`, `Refused`, `Gap`, `Lost`,
        `SlowConsumer`, `SlowWatcher`, `Claimed`; what they mean and what to do about it say their
        docstrings. Each iterator has a queue of its own, of 1,024: one that is read too slowly
        gets `Missed` with the number of the oldest that were dropped. Ends when the node is
        closed. May be called before `start`.
        """
        return Events(self._runtime.board.feed())

    def stats(self) -> Stats:
        """An immutable snapshot of every counter."""
        return self._views.stats()
