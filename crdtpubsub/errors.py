"""The error tree. Each error says who raised it, what happened to the state, and what to do."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "BindError",
    "ClosedError",
    "ConfigError",
    "CrdtPubSubError",
    "DrainError",
    "ForkedError",
    "InvalidNameError",
    "NoMembersError",
    "NotSeenError",
    "PayloadError",
    "PayloadTooLargeError",
    "QueueFullError",
    "UnreachableError",
    "WireError",
]


class CrdtPubSubError(Exception):
    """The root of every error this package raises on purpose (beside builtin `TimeoutError`)."""


class ConfigError(CrdtPubSubError, ValueError):
    """An argument or a knob cannot be used as given.

    Raised by: constructors and `start`, and calls given an argument that makes no sense.
    State: unchanged; nothing was sent.
    Do: what the message says; it names the argument and the remedy.
    """


class InvalidNameError(CrdtPubSubError, ValueError):
    """A channel, client id, group or node name breaks the rules for names.

    Raised by: every call that takes a name, before anything happens.
    State: unchanged.
    Do: use 1 to 255 bytes of UTF-8 without control characters.

    Attributes:
        kind: what it should have been: `channel`, `client id`, `queue group` or `name`.
        complaint: what is wrong with it, in words.
    """

    def __init__(self, *, kind: str, text: object, complaint: str) -> None:
        super().__init__(f"{text!r:.120} cannot be a {kind}: {complaint}")
        self.kind = kind
        self.complaint = complaint


class BindError(CrdtPubSubError, OSError):
    """The node could not listen where it was told to.

    Raised by: `Node.start`.
    State: the node is closed; nothing was left behind.
    Do: choose another port (`tcp://127.0.0.1:*` takes a free one) or stop who holds it.

    Attributes:
        endpoint: where it was told to listen.
        reason: why it cannot, in words.
    """

    def __init__(self, *, endpoint: str, reason: str) -> None:
        super().__init__(f"cannot listen on {endpoint}: {reason}")
        self.endpoint = endpoint
        self.reason = reason


class ClosedError(CrdtPubSubError, RuntimeError):
    """The node or the client is not running: not started yet, or closed.

    Raised by: every call that needs a running node or an open client.
    State: unchanged; nothing was sent.
    Do: `async with Node(...)`, or make a new one: a closed node cannot be started again.
    """


class DrainError(CrdtPubSubError, RuntimeError):
    """Not everything that was published is known to have arrived when `drain` ended.

    Raised by: `Node.drain`, after its timeout, or when the link to a peer broke meanwhile.
    State: the node is closed. What `publications` counts may have arrived or not; everything
        else was acknowledged by the peers it was for.
    Do: log it; send again, from another node, what must not be missing.

    Attributes:
        publications: life of a peer -> (its name, how many it has not acknowledged).
    """

    def __init__(self, *, publications: Mapping[str, tuple[str, int]], waited_s: float) -> None:
        said = ", ".join(f"{count} for {name}" for name, count in publications.values())
        super().__init__(f"not acknowledged after {waited_s:.1f} s: {said}; the node is closed")
        self.publications = dict(publications)


class NotSeenError(CrdtPubSubError, TimeoutError):
    """Not everybody is known to have seen what was asked about, when the time was over.

    Raised by: `Node.synced`, `join(wait=...)` and `publish(after=..., confirm=...)`.
    State: what was joined, removed or updated is done, and on its way. Of `publish`: nothing
        was sent.
    Do: look at who is missing and why; ask again with `synced`.

    Attributes:
        missing: life -> (its name, why): live peers, or this node itself.
    """

    def __init__(self, *, missing: Mapping[str, tuple[str, str]], waited_s: float | None) -> None:
        said = ", ".join(f"{name} ({why})" for name, why in missing.values()) or "too few peers"
        super().__init__(f"not known to be seen after {waited_s} s by: {said}")
        self.missing = dict(missing)


class NoMembersError(CrdtPubSubError, LookupError):
    """There is nobody to ask: the channel has no member whose node is up, as far as is known here.

    Raised by: `request`, at once.
    State: unchanged; nothing was sent.
    Do: `wait_for(channel)`, or do without.
    """


class UnreachableError(CrdtPubSubError, ConnectionError):
    """Who was asked cannot be reached, or is known to give no answer any more.

    Raised by: `request`, and `join` of another node's client, as soon as it is known: no link; the
        node went down, left or was restarted; its client's queue is full; it does not answer.
    State: the message says whether it was done: not done if it was refused; unknown if the node
        went away with it.
    Do: ask again if it was not done, or if it does no harm to do it twice.
    """


class ForkedError(CrdtPubSubError, RuntimeError):
    """A node made before `os.fork` was used in the child.

    Raised by: every call on the node in the child process.
    State: unchanged; the parent's node goes on undisturbed.
    Do: create the node after the fork, in the process that uses it.
    """


class PayloadError(CrdtPubSubError, ValueError):
    """A payload could not be packed, or one that arrived does not unpack.

    Raised by: `publish` for data msgpack does not know (nothing was sent), and by
        `Message.data` for bytes that are not msgpack (the message stays readable as
        `Message.payload`).
    State: unchanged.
    Do: send None, bool, int, float, str, bytes, list or dict of them.
    """


class PayloadTooLargeError(CrdtPubSubError, ValueError):
    """A payload or a member's metadata is longer than its limit.

    Raised by: `publish`, `join` and `update`, before anything is sent.
    State: unchanged. The node stays usable.
    Do: split it, or send a reference.

    Attributes:
        size_bytes: how long it is, packed.
        limit_bytes: how long it may be.
    """

    def __init__(self, *, what: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{what} is {size_bytes} bytes; the limit is {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class QueueFullError(CrdtPubSubError, RuntimeError):
    """A queue on this node is at its limit and the caller asked not to wait.

    Raised by: `publish_nowait` when no owner's outbox has room; `publish` and `send` with
        `confirm=`, `request`, `reply` and `join` of another node's client when too much is
        unanswered.
    State: nothing was queued; the loss is counted.
    Do: slow down, use `await publish(...)`, or raise the limit.
    """


class WireError(CrdtPubSubError, ValueError):
    """Bytes from a peer are not what this wire version says.

    Raised by: the codec, and caught by the driver; users never see it.
    State: unchanged; the frame is counted and dropped.
    """
