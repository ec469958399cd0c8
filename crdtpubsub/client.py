"""The mailbox as a user sees it: `Client`, and `Subscription` for those who only listen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar, cast

from crdtpubsub import blocking
from crdtpubsub.arguments import check_many, check_timeout
from crdtpubsub.errors import ClosedError
from crdtpubsub.runtime import Exit, Mailbox, Message
from crdtpubsub.views import Address
from crdtpubsub.waiting import next_signal
from crdtpubsub.waking import ring

if TYPE_CHECKING:
    from crdtpubsub.node import Node
    from crdtpubsub.overlay import Overlay

__all__ = ["Client", "Subscription"]

T = TypeVar("T")


class Client:
    """A named mailbox on one node; a member of as many channels as it joins, of one scope.

    Made by `Node.client` or `Scope.client`. What is published to its channels, on any node, is
    queued here until it is read; what others end is told by an `Exit`. For any thread and any event
    loop, one reader at a time or several: each item goes to one of them, and one that is cancelled
    loses nothing.

    Raises, from any call, with nothing changed:
        ClosedError: the client, or its node, is closed.
        ForkedError: it was made before `os.fork`, in the parent of this process.
        InvalidNameError: what shall be a name is none: 1 to 255 bytes of UTF-8, no controls.
        ConfigError: an argument makes no sense; the message names it, and the remedy.
    """

    def __init__(self, home: Overlay, client_id: str, mailbox: Mailbox) -> None:
        """Use `Node.client` instead."""
        self._home = home
        self._mailbox = mailbox
        self._take = mailbox.take
        self._check_process = home._runtime.check_process  # noqa: SLF001
        self.id = client_id
        """Unique on its node; another node may have a client of the same id."""

    def __repr__(self) -> str:
        return f"Client({self.id!r} on {self.node.name!r}, pending={self.pending})"

    @property
    def node(self) -> Node:
        """The node it lives on."""
        return self._home.node

    @property
    def address(self) -> Address:
        """Where `Node.send` of any node reaches it, whatever it is a member of."""
        return Address(self.node.id, self.id)

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels it is a member of now, sorted."""
        return self._home._views.channels_of(self.id)  # noqa: SLF001  (a door and its own handle)

    @property
    def pending(self) -> int:
        """How many items wait to be read."""
        return len(self._mailbox)

    @property
    def pending_bytes(self) -> int:
        """What they count against `max_pending_bytes`: payloads and headers."""
        return self._mailbox.pending_bytes

    @property
    def dropped(self) -> int:
        """How many messages its full queue has lost, by `overflow`."""
        self._mailbox.look()
        return self._mailbox.dropped

    @property
    def closed(self) -> bool:
        """Whether it takes nothing more. What is queued can still be read."""
        self._mailbox.look()
        return self._mailbox.closed

    async def join(
        self,
        channel: str,
        *,
        meta: object = None,
        queue: str | None = None,
        wait: Literal["all"] | int | None = None,
        timeout: float | None = None,
    ) -> None:
        """Become a member of `channel`: arguments, errors and cancelling, see `Node.join`."""
        home = self._home
        if meta is queue is wait is timeout is None:  # nearly always
            home._enter(channel, self)  # noqa: SLF001
            return
        await home.join(channel, self, meta=meta, queue=queue, wait=wait, timeout=timeout)

    async def leave(self, channel: str) -> bool:
        """Stop being a member of `channel`, without an `Exit`; whether it was one."""
        return await self._home.leave(channel, self)

    async def update(self, channel: str, *, meta: object) -> None:
        """Replace the metadata of its membership, which goes on: others see it change, not leave.

        It never brings back who was removed, here or elsewhere at the same time: then the `Exit`
        comes.

        Args:
            channel: one of which it is a member.
            meta: as for `Node.join`; None takes the metadata away.

        Raises:
            ConfigError: it is no member of `channel`; nothing was changed.
            PayloadError, PayloadTooLargeError: as for `Node.join`.
        """
        self._home._update(channel, self, meta)  # noqa: SLF001

    async def get(self, *, timeout: float | None = None) -> Message | Exit:
        """The next item: a `Message`, or an `Exit` when others ended a membership.

        Args:
            timeout: seconds to wait; None waits for ever.

        Raises:
            TimeoutError: nothing came in time.
            ClosedError: the client or its node is closed and the queue is empty.
            ForkedError: this is a child of the process that made it.

        A cancelled `get` loses nothing: the item stays for the next one.
        """
        check_timeout(timeout)
        self._check_process()
        item = self._take()
        return await self._first(self._take, timeout) if item is None else item

    async def get_many(
        self, at_most: int = 1024, *, timeout: float | None = None
    ) -> list[Message | Exit]:
        """What waits, in its order, at the price of few items; at least one.

        Args:
            at_most: so many, and leave the rest; at least 1.
            timeout: seconds to wait for the first; None waits for ever.

        Raises:
            TimeoutError, ClosedError, ForkedError: as for `get`.
            ConfigError: `at_most` is no number of items.

        A cancelled `get_many` loses nothing.
        """
        if timeout is not None or at_most.__class__ is not int or at_most < 1:
            check_many(at_most, timeout)
        self._check_process()
        mailbox = self._mailbox
        while True:
            closed = mailbox.closed  # looked at first: what came before it was closed is read
            if items := mailbox.take_many(at_most):
                return items
            if closed or timeout is not None or blocking.here():
                return await self._first(lambda: mailbox.take_many(at_most), timeout)
            await ring(mailbox.bell, mailbox.ready)

    async def _first(self, take: Callable[[], T | None], timeout: float | None) -> T:
        mailbox = self._mailbox
        until = None if timeout is None else monotonic() + timeout
        while True:
            closed = mailbox.closed
            if taken := take():
                return taken
            if closed:
                raise ClosedError(f"client {self.id!r} is closed; nothing more will come")
            left_s = None if until is None else until - monotonic()
            if (left_s is not None and left_s <= 0) or not await next_signal(
                mailbox.bell, mailbox.ready, left_s
            ):
                if taken := take():
                    return taken
                raise TimeoutError(f"nothing for client {self.id!r} within {timeout} s")

    async def __aiter__(self) -> AsyncIterator[Message | Exit]:
        """Every item until the client is closed."""
        while True:
            try:
                yield await self.get()
            except ClosedError:
                return

    async def close(self) -> None:
        """End all its memberships, without an `Exit`, and take nothing more. Idempotent.

        What is queued can still be read; after that `get` raises `ClosedError`.
        """
        self._home._close_client(self.id, self._mailbox)  # noqa: SLF001


class Subscription:
    """A client that joins some channels and yields their messages. Made by `Node.subscribe`.

    `async with node.subscribe("room") as messages:` joins on entry and closes on exit;
    `messages = await node.subscribe("room")` joins now and leaves closing to you. For any
    thread and any event loop; several readers share what comes, and one that is cancelled loses
    nothing.

    Raises, from any call:
        ClosedError: it, or its node, is closed, and everything was read.
        ForkedError: it was made before `os.fork`, in the parent of this process.
        ConfigError: an argument makes no sense; the message names it.
    """

    def __init__(
        self, client: Client, channels: tuple[str, ...], meta: object, queue: str | None
    ) -> None:
        """Use `Node.subscribe` instead."""
        self.client = client
        self.exits: list[Exit] = []
        """The memberships that others ended so far."""
        self._channels = channels
        self._meta = meta
        self._queue = queue
        self._joined = False

    async def _join(self) -> Self:
        if not self._joined:
            self._joined = True
            try:
                for channel in self._channels:
                    await self.client.join(channel, meta=self._meta, queue=self._queue)
            except BaseException:  # bad metadata, say: its id is free again, and it is nowhere
                await self.close()
                raise
        return self

    def __await__(self) -> Generator[object, None, Self]:
        return self._join().__await__()

    async def __aenter__(self) -> Self:
        return await self._join()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def get(self, *, timeout: float | None = None) -> Message:
        """The next message; exits are noted in `exits`.

        Args:
            timeout: seconds to wait; None waits for ever.

        Raises:
            TimeoutError: none came in time.
            ClosedError: it is closed, or others ended its last membership.
        """
        check_timeout(timeout)
        until = None if timeout is None else monotonic() + timeout
        while True:
            left_s = None if until is None else max(0.0, until - monotonic())
            item = await self.client.get(timeout=left_s)
            if isinstance(item, Message):
                return item
            await self._exit(item)

    async def get_many(self, at_most: int = 1024, *, timeout: float | None = None) -> list[Message]:
        """What waits, at the price of few messages; at least one. Exits are noted in `exits`.

        Arguments as for `Client.get_many`.

        Raises:
            TimeoutError: none came within `timeout` seconds.
            ClosedError: it is closed, or others ended its last membership.
            ConfigError: `at_most` is no number of messages.
        """
        client = self.client
        if timeout is not None or at_most.__class__ is not int or at_most < 1:
            check_many(at_most, timeout)
        client._check_process()  # noqa: SLF001
        mailbox = client._mailbox  # noqa: SLF001
        until = None if timeout is None else monotonic() + timeout
        while True:
            items = mailbox.take_many(at_most)
            if not items:
                if mailbox.closed or until is not None or blocking.here():
                    left_s = timeout if until is None else max(0.0, until - monotonic())
                    items = await client.get_many(at_most, timeout=left_s)
                else:
                    await ring(mailbox.bell, mailbox.ready)
                    continue
            if mailbox.exits_told == len(self.exits):  # nearly always: none among them
                return cast("list[Message]", items)
            messages = [item for item in items if isinstance(item, Message)]
            if len(messages) < len(items):
                for item in items:
                    if isinstance(item, Exit):
                        await self._exit(item)
            if messages:
                return messages

    async def _exit(self, item: Exit) -> None:
        self.exits.append(item)
        if not self.client.channels:
            await self.close()

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Every message, until it is closed or others have ended its last membership.

        Joins first, if that has not been done: errors as for `Node.join`.
        """
        await self._join()
        client = self.client
        take, check_process = client._take, client._check_process  # noqa: SLF001
        while True:
            check_process()
            item = take()  # what has come needs no call of ours to be waited for
            if item is None:
                try:
                    item = await client.get()
                except ClosedError:
                    return
            if isinstance(item, Message):
                yield item
            else:
                await self._exit(item)

    async def close(self) -> None:
        """Leave every channel and take nothing more. Idempotent."""
        await self.client.close()
