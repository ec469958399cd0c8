"""What can become of a publication at one owner."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Outcome"]


class Outcome(StrEnum):
    """What became of a publication at one owner, as far as this node can know.

    Unconfirmed ones are `QUEUED`, or refused before they were sent; confirmed ones end in one of
    the others. A refusal says why nobody there has it. `UNKNOWN` means that it was sent and not
    answered, in time or before that life ended: it may have arrived.
    """

    QUEUED = "queued"  # in the outbox of a working link: at most once from here on
    DELIVERED = "delivered"  # handed to its clients' queues
    REFUSED_NO_LINK = "refused: no link"
    REFUSED_LAGGING = "refused: lagging"
    REFUSED_SILENT = "refused: no answer"  # before it was said: linked, and it told no answer table
    REFUSED_NOBODY = "refused: no such member"
    REFUSED_FULL = "refused: full queue"
    REFUSED_RESTARTED = "refused: restarted"  # before it was said: another life answers there
    REFUSED_LEFT = "refused: left"  # before it was said: that node said goodbye
    UNKNOWN = "unknown"

    @property
    def refused(self) -> bool:
        """Whether nobody there has it."""
        return self.startswith("refused")

    @property
    def reason(self) -> str:
        """Why it was refused; '' if it was not."""
        return self.removeprefix("refused: ") if self.refused else ""
