"""The short way of a join and a leave by a client's own handle, where nobody watches.

As for a publication there is no event and no effect: who writes knows what has changed. What is
told is what is cached: the views of that channel, and whoever waits for the bell. With a watcher
each goes the long way, `Engine.handle` and `Core.perform`.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from crdtpubsub.engine import events as ev
from crdtpubsub.errors import ClosedError, CrdtPubSubError
from crdtpubsub.runtime.mailbox import Mailbox

if TYPE_CHECKING:
    from crdtpubsub.runtime.runtime import Runtime

__all__ = ["Joiner"]


class Joiner:
    """Joins and leaves of the clients of one node. For any thread."""

    __slots__ = ("_runtime",)

    def __init__(self, runtime: Runtime) -> None:
        """Of that node."""
        self._runtime = runtime

    def join(
        self,
        channel: str,
        client: str,
        mailbox: Mailbox,
        group: str = "",
        meta: bytes | None = None,
    ) -> None:
        """The client of that mailbox becomes a member, or its membership changes. Visible at once.

        Raises:
            ClosedError: the node, the scope or the client is closed; nothing was changed.
        """
        runtime = self._runtime
        runtime.check()
        core = runtime.core
        try:
            with core.lock:
                if mailbox.closed:
                    raise ClosedError("the client was closed; nothing was changed")  # noqa: TRY301
                if runtime.draining:
                    raise runtime.refusal()  # noqa: TRY301
                try:
                    wake = self._joined(channel, client, mailbox, group, meta)
                except CrdtPubSubError:
                    raise  # before anything was changed
                except BaseException:
                    core.recover()
                    raise
            if wake or core.pulse or core.to_wake:
                core.let_go(wake=wake)
        except CrdtPubSubError:
            raise
        except BaseException:
            core.rouse()
            raise

    def leave(self, channel: str, client: str, mailbox: Mailbox) -> bool:
        """That client is a member no more, as it asked; whether it was one.

        Of a client that was closed, and whose id may be another's now, nothing is ended.
        """
        runtime = self._runtime
        runtime.check()
        core = runtime.core
        try:
            with core.lock:
                if core.mailboxes.get(client) is not mailbox:
                    return False
                try:
                    left, wake = self._left(channel, client, mailbox)
                except CrdtPubSubError:
                    raise
                except BaseException:
                    core.recover()
                    raise
            if wake or core.pulse or core.to_wake:
                core.let_go(wake=wake)
        except CrdtPubSubError:
            raise
        except BaseException:
            core.rouse()
            raise
        return left

    # ---------------------------------------------------------------- under the lock

    def _joined(
        self, channel: str, client: str, mailbox: Mailbox, group: str, meta: bytes | None
    ) -> bool:
        """Do it; whether the I/O thread is to be woken."""
        core, scope = self._runtime.core, mailbox.scope
        done = 0
        if not core.watchers.any:
            done = core.engine.add(scope, channel, client, group, meta or b"", monotonic())
        if done:
            mailbox.channels.add(channel)
        else:  # it is one already, or somebody watches
            core.engine.handle(ev.Join(scope, channel, client, group, meta), monotonic())
        return self._tell(scope, channel, client, done)

    def _left(self, channel: str, client: str, mailbox: Mailbox) -> tuple[bool, bool]:
        core, scope = self._runtime.core, mailbox.scope
        if core.watchers.any:
            leave = ev.Leave(scope, channel, core.engine.me, client, by_client=True)
            left = core.engine.handle(leave, monotonic())
            return bool(left), self._tell(scope, channel, client, 0)
        done = core.engine.end(scope, channel, client, monotonic())
        if not done:
            return False, False
        mailbox.channels.discard(channel)
        return True, self._tell(scope, channel, client, done)

    def _tell(self, scope: str, channel: str, client: str, done: int) -> bool:
        core = self._runtime.core
        if done:
            core.rosters.touch(scope, channel, core.engine.me, client)
            if core.bell:
                core.pulse = True
            if done == 1:
                return False
        core.perform(core.engine.take())
        return core.must_wake()
