"""Who waits, in whatever thread or event loop, and how all of them are told."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Bell"]


class Bell:
    """Wakers that are called once, at the next ring. Safe from any thread, without a lock.

    The table is never replaced: a waiter that subscribes while another thread rings is either
    rung or is in time to look for itself. (With a list that was swapped for a new one it could
    end up in the old one, which nobody rings any more, and wait for ever.)
    """

    __slots__ = ("wakers",)

    def __init__(self) -> None:
        self.wakers: dict[Callable[[], None], bool] = {}

    def __len__(self) -> int:
        return len(self.wakers)

    def subscribe(self, waker: Callable[[], None]) -> None:
        """Call `waker` at the next ring. Look whether to wait only after this."""
        self.wakers[waker] = True

    def unsubscribe(self, waker: Callable[[], None]) -> None:
        """Do not call it. Idempotent."""
        self.wakers.pop(waker, None)

    def ring(self) -> None:
        """Call every waker that was subscribed before."""
        if not self.wakers:
            return
        for waker in [*self.wakers]:  # in one step: others subscribe meanwhile
            try:
                if self.wakers.pop(waker, False):
                    waker()
            except BaseException:  # an interrupt: it waits still, and the next ring is for it
                self.wakers[waker] = True
                raise
