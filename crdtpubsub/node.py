"""The asyncio door: `Node`. Thin: it checks arguments, packs, waits; the runtime does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self

from crdtpubsub.arguments import check_bind, check_seeds, check_timeout, made_from_environment
from crdtpubsub.config import Config
from crdtpubsub.engine import events as ev
from crdtpubsub.errors import ClosedError, ConfigError
from crdtpubsub.names import DEFAULT_SCOPE, NodeId, check_label
from crdtpubsub.overlay import Overlay
from crdtpubsub.runtime import Runtime
from crdtpubsub.scope import Scope
from crdtpubsub.transport import CurveSecurity
from crdtpubsub.views import Peer, Views
from crdtpubsub.waiting import wait_until, wait_until_drained

__all__ = ["Node"]

LOOPBACK: Final = "tcp://127.0.0.1:*"


class Node(Overlay):
    """This process in the cluster: `async with Node(...)`.

    Runs a thread of its own, so that a busy event loop does not make it look dead. Methods are
    safe to call from any thread and any event loop; reads never wait for the network. A node
    belongs to the process that started it and is started once. Do not call it from a raw signal
    handler or a `__del__`: its lock is not made to be taken twice by one thread, which may be in
    the middle of another call. Let a handler set an event, or use `loop.add_signal_handler`.

    Raises, from any call, with nothing changed:
        ClosedError: the node does not run, or not any more.
        ForkedError: it was made before `os.fork`, in the parent of this process.
        InvalidNameError: what shall be a name is none: 1 to 255 bytes of UTF-8, no controls.
        ConfigError: an argument makes no sense; the message names it, and the remedy.
    """

    def __init__(
        self,
        bind: str | None = None,
        *,
        seeds: Sequence[str] = (),
        advertise: str | None = None,
        name: str | None = None,
        cluster: str = "default",
        secret: str | Sequence[str] | None = None,
        insecure: bool = False,
        config: Config | None = None,
    ) -> None:
        """Describe a node; nothing happens before `start`.

        Args:
            bind: where to listen, `tcp://host:port` (`*` as port takes a free one) or
                `ipc://path`. None: a free port on 127.0.0.1 if there are `seeds`; else in the
                directory in which the nodes of one user on one host meet, those of one cluster
                name: they find each other by themselves.
            seeds: endpoints of other nodes, `tcp://host:port`, or `dns://name:port` for every
                address that the name has. Names are resolved again every
                `Config.discovery_interval_s`. One that answers is enough; those that do not are
                retried for ever and `start` does not fail for them.
            advertise: the endpoint others shall dial, where it differs from `bind`.
            name: a human label, 1 to 255 bytes; need not be unique.
            cluster: nodes of different clusters never talk, whatever they dial.
            secret: only who holds it can join, and all links are encrypted, on loopback and ipc
                too: SECURITY.md says what that gives. At least 16 characters, not shown again
                anywhere; `crdtpubsub keygen` prints one. To change it, give a list: listen with
                the first, dial with each in turn, admit all. Restart node by node with
                `[old, new]`, then with `[new, old]`, then with `new`. Costs about 50 ms each.
            insecure: allow listening beyond this host without a secret, nothing encrypted or
                authenticated. On loopback without one every local user can join: mind that too.
            config: the knobs.

        Raises:
            ConfigError: an argument makes no sense, or opens this node to the network without
                `secret` or `insecure=True`; or there is a secret, and no CURVE in this libzmq.
            InvalidNameError: `name` or `cluster` is no name.
        """
        check_seeds(seeds)
        if bind is None and (seeds or advertise is not None):
            bind = LOOPBACK
        if bind is not None:
            check_bind(bind, advertise, meant=insecure or secret is not None)
        if name is not None:
            check_label(name)
        runtime = Runtime(
            bind=bind,
            seeds=tuple(seeds),
            advertise=advertise,
            name=name,
            cluster=check_label(cluster),
            config=config or Config(),
            security=None if secret is None else CurveSecurity(secret),
        )
        super().__init__(runtime, DEFAULT_SCOPE, Views(runtime, DEFAULT_SCOPE))
        self._views_of: dict[str, Views] = {}
        self._started = False

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """A node as the environment describes it, for containers; nothing happens before `start`.

        Read are `CRDTPUBSUB_BIND`, `_SEEDS` (separated by commas), `_ADVERTISE`, `_NAME`,
        `_CLUSTER` and `_SECRET` (several, for a rotation, separated by commas: a secret with a
        comma in it must be passed as `secret=`). What is not set is as without: see `Node`.

        Args:
            overrides: arguments of `Node`; they win over the environment.

        Raises:
            ConfigError: a value makes no sense; the message names the variable, or the argument.
        """
        return made_from_environment(cls, overrides)

    def __repr__(self) -> str:
        state = "closed" if self._runtime.closed else "running" if self._started else "not started"
        return f"Node({self.name!r} at {self.endpoint or self._runtime.id[:8]}, {state})"

    # ---------------------------------------------------------------- life

    @property
    def id(self) -> NodeId:
        """This life; drawn anew for each `Node`."""
        return self._runtime.id

    @property
    def name(self) -> str:
        """Its human label."""
        return self._runtime.name

    @property
    def endpoint(self) -> str:
        """What peers dial; empty before `start`."""
        return self._runtime.endpoint

    async def start(self) -> Self:
        """Listen, and begin to look for the seeds. Returns when this node can be dialled.

        Raises:
            BindError: it cannot listen there. The node is closed.
            ConfigError: started before; a node runs once.
            ClosedError: another task closed it meanwhile.

        If cancelled, the node is closed.
        """
        if self._started:
            raise ConfigError(f"node {self.name} was started before; make a new Node")
        self._started = True
        runtime = self._runtime
        try:
            runtime.start()
            await wait_until(runtime.bell, runtime.started)
        except GeneratorExit:  # dropped: there is no more waiting
            runtime.stop()
            raise
        except BaseException:  # cancelled, or interrupted
            await self.close()
            raise
        if runtime.closed:
            raise ClosedError(f"node {self.name} was closed while it started")
        return self

    async def close(self) -> None:
        """Say goodbye (peers drop our members at once), and stop. Idempotent; under a second.

        What is queued for slow peers is dropped after a quarter of a second: see `drain`. Clients
        are closed; what is queued for them can still be read. From any thread and any event loop,
        several at a time, also while the node starts. A cancelled `close` still closes.

        A node that is not closed is closed at the exit of the process, and with a
        `ResourceWarning` when the garbage collector finds it.
        """
        runtime = self._runtime
        runtime.stop()
        await wait_until(runtime.bell, runtime.ended)
        runtime.close()

    async def drain(self, *, timeout: float = 10.0) -> None:
        """Leave, see to it that what was published arrives, and close: for a rolling restart.

        From the call on this node takes nothing new: `publish`, `join`, `client` and `subscribe`
        raise `ClosedError`, in every thread. Its clients leave all channels, without an `Exit`,
        so that nobody sends to them any more; what they have queued can be read, also afterwards.
        Then it waits until each peer has acknowledged every publication that a `Receipt` called
        queued: its node has taken them out of the network and put them into the queues of its
        clients. (`close` drops after a quarter of a second what a slow peer has not taken, and so
        does ZeroMQ's own linger.) Then it says goodbye and closes, whatever happened.

        Args:
            timeout: seconds to wait for the peers.

        Raises:
            DrainError: not everything was acknowledged in time, or a link broke with something
                on its way; it names the peers and counts the publications. The node is closed.
            ClosedError: it does not run, or somebody closed it meanwhile.

        If cancelled, the node is closed, as by `close`.
        """
        self._runtime.check()
        check_timeout(timeout)
        try:
            await wait_until_drained(self._runtime, timeout)
        finally:
            await self.close()

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        runtime = getattr(self, "_runtime", None)  # not there if the arguments were refused
        if runtime is not None and runtime.running:
            _warn(f"unclosed {self!r}", ResourceWarning, source=self)
            runtime.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # ---------------------------------------------------------------- others

    def peers(self) -> tuple[Peer, ...]:
        """Every other node this one holds, sorted by id."""
        return self._views.peers()

    def scope(self, name: str) -> Scope:
        """Take part in an overlay of its own: other channels, among the nodes that open it too.

        Opens it at once, if it is not open. Nodes that have not opened it get nothing of it:
        no members, no gossip, no messages. Of one name all handles are the same scope.

        Args:
            name: 1 to 255 bytes, agreed on by those who meet there; up to 63 are open at a time.

        Raises:
            ConfigError: too many are open, or it is the name of the node's own overlay.
            InvalidNameError, ClosedError, ForkedError: nothing was changed.
        """
        if check_label(name) == DEFAULT_SCOPE:
            raise ConfigError(f"{name!r} is the overlay of the node itself: use the node")
        self._runtime.write(ev.OpenScope(name))
        views = self._views_of.get(name)
        if views is None:
            views = self._views_of[name] = Views(self._runtime, name)
        return Scope(self, name, views)

    @property
    def node(self) -> Self:
        """Itself."""
        return self
