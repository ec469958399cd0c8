"""Publications in a row to one channel: gathered as they come, and encoded together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from crdtpubsub.engine.delivery import Route
from crdtpubsub.names import NAME_BYTES_MAX, NodeId
from crdtpubsub.runtime.receipts import Receipt, receipt_of

if TYPE_CHECKING:
    from crdtpubsub.runtime.core import Core

__all__ = ["GATHERED_BYTES_MAX", "STREAMS_MAX", "Stream", "Streams"]

STREAMS_MAX: Final = 4096
"""Channels whose streams are kept; of one more all are made anew."""

GATHERED_BYTES_MAX: Final = 192 * 1024
PLACE_BYTES: Final = 48
"""What a payload counts beside its bytes, where the wire takes at most 5: so no more are gathered
than an array may hold (`wire/limits.py:CHUNK`)."""


class Stream:
    """Publications to one channel that have nothing but a payload: where they go, as long as the
    route is the same object, and what of them waits to be encoded.
    """

    __slots__ = (
        "channel",
        "head_bytes",
        "left",
        "payloads",
        "receipt",
        "record",
        "remote_only",
        "room_bytes",
        "route",
        "routes",
        "scope",
        "unpushed",
    )

    def __init__(
        self,
        scope: str,
        channel: str,
        route: Route,
        routes: Mapping[str, Route],
        unpushed: Mapping[NodeId, object],
        receipt: Receipt,
    ) -> None:
        """Along `route`, while `routes` has it and nothing is `unpushed`: both are live."""
        self.scope = scope
        self.channel = channel
        self.route = route
        self.routes = routes
        self.unpushed = unpushed
        self.receipt = receipt  # of each of them, if every link has room
        self.remote_only = bool(route.links) and not (
            route.unlinked or route.clients or route.groups
        )
        self.head_bytes = 2 * NAME_BYTES_MAX + PLACE_BYTES  # of the record, at most
        self.payloads: list[bytes] = []
        self.room_bytes = 0
        self.record = b""  # while `Sender.seal` has begun to queue them
        self.left: list[str] = []  # the links that have not got it yet

    def take(self, payload: bytes) -> bool:
        """Gather it, if there is room."""
        size_bytes = len(payload) + PLACE_BYTES
        if size_bytes > self.room_bytes:
            return False
        self.payloads.append(payload)
        self.room_bytes -= size_bytes
        return True


class Streams:
    """The streams of a node, and the short way of a publication.

    At most one of them is open: `Sender.open`. Whatever else is put into an outbox closes it
    first (`Sender.seal`), so the order is that of the calls.
    """

    def __init__(self) -> None:
        self.stopped = False  # nothing is taken any more: `Runtime.publish` says why
        self._core: Core | None = None
        self._known: dict[tuple[str, str], Stream] = {}

    def serve(self, core: Core) -> None:
        """The node starts."""
        self._core = core

    def of(self, core: Core, scope: str, channel: str, route: Route) -> Stream:
        """The stream along `route`, which is the one of that channel now. Under the lock."""
        stream = self._known.get((scope, channel))
        if stream is None or stream.route is not route:
            if len(self._known) >= STREAMS_MAX:
                self._known.clear()
            engine = core.engine
            live = engine.routes(scope), engine.pending(scope)
            receipt = receipt_of(engine.me, route, {}, None)
            stream = self._known[scope, channel] = Stream(scope, channel, route, *live, receipt)
        return stream

    def say(self, scope: str, channel: str, payload: bytes) -> Receipt | None:
        """Publish on the stream that is open, to which nothing happened since: all that is left
        of `Runtime.publish` then. None: it is not, nothing was done, and that has to.
        """
        core = self._core
        if core is None or self.stopped or (stream := core.sender.open) is None:
            return None
        if stream.channel != channel or stream.scope != scope or not stream.remote_only:
            return None
        size_bytes = len(payload) + PLACE_BYTES
        try:
            # Not in line behind others as in `HandOverLock.__enter__`: it is held for less than
            # a microsecond, so whoever stands in line has it as soon as it is let go of.
            with core.lock.plain:
                if (
                    core.sender.open is not stream
                    or size_bytes > stream.room_bytes
                    or stream.routes.get(channel) is not stream.route
                    or stream.unpushed
                ):
                    return None
                stream.payloads.append(payload)  # as `Stream.take`, a call less
                stream.room_bytes -= size_bytes
            if core.sleeping:
                core.let_go(wake=True)
        except BaseException:  # an interrupt: it was queued, or not
            core.rouse()
            raise
        return stream.receipt
