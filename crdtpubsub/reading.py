"""What blocking code reads: the twins of `Client`, `Subscription`, `Events` and `Watch`."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from crdtpubsub.blocking import explained, run
from crdtpubsub.client import Client, Subscription
from crdtpubsub.errors import ClosedError
from crdtpubsub.runtime import Exit, Message, Notice
from crdtpubsub.views import Address
from crdtpubsub.waiting import Events
from crdtpubsub.watching import Change, Snapshot, Watch

if TYPE_CHECKING:
    from crdtpubsub.sync import SyncNode

__all__ = ["SyncClient", "SyncEvents", "SyncSubscription", "SyncWatch"]


@explained(Client)
class SyncClient:
    """The blocking twin of `Client`: a named mailbox on one node. Made by `SyncNode.client`.

    For any thread, and for several at a time: each item goes to one reader. An interrupted reader
    loses nothing.

    Raises, from any call, with nothing changed:
        ClosedError: the client, or its node, is closed.
        ForkedError: it was made before `os.fork`, in the parent of this process.
        InvalidNameError: what shall be a name is none: 1 to 255 bytes of UTF-8, no controls.
        ConfigError: an argument makes no sense; the message names it, and the remedy.
    """

    def __init__(self, node: SyncNode, client: Client) -> None:
        """Use `SyncNode.client` instead."""
        self._node = node
        self._client = client
        self.id = client.id
        """Unique on its node; another node may have a client of the same id."""

    def __repr__(self) -> str:
        return f"Sync{self._client!r}"

    @property
    def node(self) -> SyncNode:
        """The node it lives on."""
        return self._node

    @property
    def address(self) -> Address:
        """Where `SyncNode.send` of any node reaches it, whatever it is a member of."""
        return self._client.address

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels it is a member of now, sorted."""
        return self._client.channels

    @property
    def pending(self) -> int:
        """How many items wait to be read."""
        return self._client.pending

    @property
    def pending_bytes(self) -> int:
        """What they count against `max_pending_bytes`: payloads and headers."""
        return self._client.pending_bytes

    @property
    def dropped(self) -> int:
        """How many messages its full queue has lost, by `overflow`."""
        return self._client.dropped

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more. What is queued can still be read."""
        return self._client.closed

    def join(
        self,
        channel: str,
        *,
        meta: object = None,
        queue: str | None = None,
        wait: Literal["all"] | int | None = None,
        timeout: float | None = None,
    ) -> None:
        """As `Client.join`, blocking."""
        run(self._client.join(channel, meta=meta, queue=queue, wait=wait, timeout=timeout))

    def leave(self, channel: str) -> bool:
        """As `Client.leave`, blocking."""
        return run(self._client.leave(channel))

    def update(self, channel: str, *, meta: object) -> None:
        """As `Client.update`, blocking."""
        run(self._client.update(channel, meta=meta))

    def get(self, *, timeout: float | None = None) -> Message | Exit:
        """As `Client.get`, blocking. An interrupt leaves at once."""
        return run(self._client.get(timeout=timeout))

    def get_many(
        self, at_most: int = 1024, *, timeout: float | None = None
    ) -> list[Message | Exit]:
        """As `Client.get_many`, blocking. An interrupt leaves at once."""
        return run(self._client.get_many(at_most, timeout=timeout))

    def __iter__(self) -> Iterator[Message | Exit]:
        """Every item until the client is closed."""
        while True:
            try:
                yield self.get()
            except ClosedError:
                return

    def close(self) -> None:
        """As `Client.close`, blocking."""
        run(self._client.close())


@explained(Subscription)
class SyncSubscription:
    """The blocking twin of `Subscription`, which has joined already. Made by `SyncNode.subscribe`.

    `with node.subscribe("room") as messages:` closes on exit; without `with`, close it yourself.
    For any thread; several share what comes. An interrupted reader loses nothing.

    Raises, from any call:
        ClosedError: it, or its node, is closed, and everything was read.
        ForkedError: it was made before `os.fork`, in the parent of this process.
        ConfigError: an argument makes no sense; the message names it.
    """

    def __init__(self, node: SyncNode, subscription: Subscription) -> None:
        """Use `SyncNode.subscribe` instead."""
        self._subscription = subscription
        self.client = SyncClient(node, subscription.client)
        self.exits = subscription.exits
        """The memberships that others ended so far."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def get(self, *, timeout: float | None = None) -> Message:
        """As `Subscription.get`, blocking. An interrupt leaves at once."""
        return run(self._subscription.get(timeout=timeout))

    def get_many(self, at_most: int = 1024, *, timeout: float | None = None) -> list[Message]:
        """As `Subscription.get_many`, blocking. An interrupt leaves at once."""
        return run(self._subscription.get_many(at_most, timeout=timeout))

    def __iter__(self) -> Iterator[Message]:
        """Every message, until it is closed or others have ended its last membership."""
        while True:
            try:
                yield self.get()
            except ClosedError:
                return

    def close(self) -> None:
        """As `Subscription.close`, blocking."""
        run(self._subscription.close())


@explained(Events)
class SyncEvents:
    """The blocking twin of `Events`: an iterator over the notices. Made by `SyncNode.events`.

    For any thread; several share what comes. An interrupted reader loses nothing.
    """

    def __init__(self, events: Events) -> None:
        """Use `SyncNode.events` instead."""
        self._events = events

    def __iter__(self) -> Self:
        """Itself."""
        return self

    def __next__(self) -> Notice:
        """The next notice; ends when the node, or this iterator, is closed and all was read."""
        try:
            return run(self._events.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """As `Events.close`, from any thread: a reader that waits comes to its end."""
        self._events.close()


@explained(Watch)
class SyncWatch:
    """The blocking twin of `Watch`: one `Snapshot`, then `Change`s. Made by `SyncNode.watch`.

    For any thread; several share what comes. An interrupted reader loses nothing.
    """

    def __init__(self, watch: Watch) -> None:
        """Use `SyncNode.watch` instead."""
        self._watch = watch

    def __iter__(self) -> Self:
        """Itself."""
        return self

    def __next__(self) -> Snapshot | Change:
        """The next item; ends when the node, or this iterator, is closed.

        Raises:
            ClosedError: the node was not started.
            ForkedError: it runs in the parent of this process.
        """
        try:
            return run(self._watch.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """As `Watch.close`, from any thread: a reader that waits comes to its end."""
        self._watch.close()
