"""Publications on the last step of their way to clients of this node: many to each at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crdtpubsub.names import NodeId
from crdtpubsub.runtime.mailbox import Mailbox, Underway
from crdtpubsub.runtime.message import Message, Run

if TYPE_CHECKING:
    from crdtpubsub.runtime.core import Core

__all__ = ["Spread"]

MESSAGES_MAX: Final = 64
BYTES_MAX: Final = 64 * 1024


class Spread(Underway):
    """What was published to some clients of mine, and is not in their queues yet.

    To put one message into a thousand queues takes as long as to put ten into each. So what is
    published here in a row to the same clients is kept in one list, until somebody looks at any
    queue, anything else is to be queued, or it is much: everybody sees what he would see if it
    had been queued at once. Under the lock, but for `look`.
    """

    __slots__ = (
        "_clients",
        "_core",
        "_exclude",
        "_mailboxes",
        "_number",
        "_run",
        "_size_bytes",
        "_took",
    )

    def __init__(self, core: Core) -> None:
        self.messages: list[Message] = []
        self._core = core
        self._size_bytes = 0
        self._clients: tuple[str, ...] = ()
        self._exclude: tuple[NodeId, str] | None = None
        self._mailboxes: list[Mailbox] = []
        self._number = 1  # of the next run: a mailbox notes which one it has had
        self._run: Run | None = None  # the messages, once some mailboxes may have had them
        self._took = 0

    def add(
        self, clients: tuple[str, ...], exclude: tuple[NodeId, str] | None, message: Message
    ) -> None:
        """For each of these clients, but for that one. `clients` is the one object of a route."""
        if clients is not self._clients or exclude != self._exclude:
            self.settle()
            self._aim(clients, exclude)
        elif self._run or len(self.messages) >= MESSAGES_MAX or self._size_bytes >= BYTES_MAX:
            self.settle()
        messages = self.messages
        self._size_bytes += message.size_bytes
        messages.append(message)
        if len(messages) == 1:
            self._wake()

    def put(self, clients: tuple[str, ...], message: Message) -> None:
        """Into the queue of each of these clients, now."""
        self.settle()
        if clients is not self._clients or self._exclude is not None:
            self._aim(clients, None)
        for mailbox in self._mailboxes:
            if mailbox.queue(message):
                self._took += 1
            elif mailbox.closed:
                self._core.overflowed.append(mailbox.client)
        self._wake()
        self._count()

    def put_run(self, clients: tuple[str, ...], run: Run) -> None:
        """The same for many."""
        self.settle()
        if clients is not self._clients or self._exclude is not None:
            self._aim(clients, None)
        number = self._number
        self._number = number + 1
        self._hand(run, number)
        self._wake()
        self._count()

    def _aim(self, clients: tuple[str, ...], exclude: tuple[NodeId, str] | None) -> None:
        core = self._core
        but = exclude[1] if exclude is not None and exclude[0] == core.engine.me else None
        there = core.mailboxes.get
        mailboxes = [box for c in clients if c != but and (box := there(c)) is not None]
        self._mailboxes, self._clients, self._exclude = mailboxes, clients, exclude

    def _wake(self) -> None:
        """Who waits. Who begins to wait from now on sees that something is there."""
        for mailbox in self._mailboxes:
            if mailbox.bell.wakers:
                self._core.to_wake.add(mailbox.bell)

    def settle(self) -> None:
        """Put it into the queues. If an interrupt breaks in, the next one goes on from there."""
        if not self.messages:
            return
        run = self._run
        if run is None:
            run = self._run = Run.of(self.messages)
        self._hand(run, self._number)
        nothing: list[Message] = []
        self.messages = nothing
        self._size_bytes = 0
        self._number += 1
        self._run = None
        self._count()

    def _hand(self, run: Run, number: int) -> None:
        for mailbox in self._mailboxes:
            if mailbox.had == number:
                continue  # before the interrupt
            if mailbox.put_run(run, number):
                self._took += run.count  # between these two no signal is looked for
            else:  # some may go: see `overflow`
                mailbox.had = number
                self._took += sum(map(mailbox.queue, run.messages()))
                if mailbox.closed:
                    self._core.overflowed.append(mailbox.client)

    def _count(self) -> None:
        took, self._took = self._took, 0
        self._core.counters["delivered"] += took

    def look(self) -> None:
        """The same for whoever looks at a queue. Not under the lock."""
        core = self._core
        with core.lock:
            self.settle()
            wake = core.must_wake()
        if wake or core.to_wake:
            core.let_go(wake=wake)

    def forget(self) -> None:
        """Something broke into the lock: what is there is put, and all else found out anew."""
        self.settle()
        self._clients, self._mailboxes = (), []
