"""Arguments of the doors, checked before anything happens."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, isnan
from typing import Any, Final, TypeVar

from crdtpubsub.discovery import is_dns
from crdtpubsub.errors import ConfigError
from crdtpubsub.names import check_label
from crdtpubsub.transport.base import is_endpoint
from crdtpubsub.transport.secret import check_secrets
from crdtpubsub.wire.payload import PayloadPacker, check_headers

__all__ = [
    "check_bind",
    "check_confirm",
    "check_headers",
    "check_many",
    "check_prefix",
    "check_queue",
    "check_seeds",
    "check_timeout",
    "from_environment",
    "made_from_environment",
    "per_thread",
]

T = TypeVar("T")

_LOCAL_HOSTS: Final = ("127.", "[::1]", "localhost")


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.packer = PayloadPacker()


per_thread: Final = _PerThread()
"""The payload packer of this thread: making one costs as much as packing."""


def check_seeds(seeds: Sequence[str]) -> None:
    """Refuse what is no list of endpoints."""
    unchecked: object = seeds
    if isinstance(unchecked, str):
        raise ConfigError(f"seeds must be a list of endpoints; write seeds=[{seeds!r}]")
    if not isinstance(unchecked, Iterable) or isinstance(unchecked, bytes):
        raise ConfigError(
            f"seeds={seeds!r:.80} must be a list of endpoints; leave it out, or pass [], for none"
        )
    for seed in seeds:
        if not is_endpoint(seed) and not is_dns(seed):
            raise ConfigError(
                f"seed {seed!r} cannot be dialled; write tcp://host:port or dns://name:port"
            )


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a node that `CRDTPUBSUB_*` give; an empty variable gives none.

    Raises:
        ConfigError: a value makes no sense; the message names its variable, and shows no secret.
    """
    given: dict[str, Any] = {}
    for name in ("bind", "seeds", "advertise", "name", "cluster", "secret"):
        text = environ.get(f"CRDTPUBSUB_{name.upper()}", "")
        if not text:
            continue
        value: Any = text
        if name in ("seeds", "secret"):
            parts = [part.strip() for part in text.split(",") if part.strip()]
            value = parts[0] if name == "secret" and len(parts) == 1 else parts
        try:
            _CHECKS.get(name, lambda _value: None)(value)
        except ValueError as error:
            raise ConfigError(f"CRDTPUBSUB_{name.upper()}: {error}") from None
        given[name] = value
    return given


def _check_shape(bind: str) -> None:
    check_bind(bind, "tcp://elsewhere:1", meant=True)


def _check_advertise(advertise: str) -> None:
    check_bind("tcp://127.0.0.1:*", advertise, meant=True)


_CHECKS: Final[Mapping[str, Callable[[Any], object]]] = {
    "bind": _check_shape,
    "seeds": check_seeds,
    "advertise": _check_advertise,
    "name": check_label,
    "cluster": check_label,
    "secret": check_secrets,
}


def check_queue(max_pending: int, max_pending_bytes: int, overflow: str) -> None:
    """Refuse limits of a client's queue that make no sense."""
    if overflow not in ("drop_oldest", "drop_newest", "close"):
        raise ConfigError(f"overflow={overflow!r}: use drop_oldest, drop_newest or close")
    for what, limit in (("max_pending", max_pending), ("max_pending_bytes", max_pending_bytes)):
        unchecked: object = limit
        if not isinstance(unchecked, int) or unchecked < 1:
            raise ConfigError(f"{what}={limit!r:.80} must be a whole number, and at least 1")


def check_timeout(timeout: float | None) -> None:
    """Refuse what is no number of seconds."""
    unchecked: object = timeout
    if unchecked is not None and (not isinstance(unchecked, int | float) or isnan(unchecked)):
        raise ConfigError(f"timeout={timeout!r:.80}: say how many seconds, as a number, or None")


def check_many(at_most: int, timeout: float | None) -> None:
    """Refuse what is no number of items to take, or of seconds."""
    check_timeout(timeout)
    unchecked: object = at_most
    if not isinstance(unchecked, int) or unchecked < 1:
        raise ConfigError(f"at_most={at_most!r:.80}: take at least 1, as a whole number")


def check_confirm(confirm: float) -> None:
    """The same for `confirm`, which must end."""
    unchecked: object = confirm
    if not isinstance(unchecked, int | float) or not 0 < unchecked < inf:
        raise ConfigError(f"confirm={confirm!r:.80}: for how many seconds shall it be tried?")


def check_prefix(prefix: str) -> None:
    """Refuse what no name can begin with."""
    unchecked: object = prefix
    if not isinstance(unchecked, str):
        raise ConfigError(f"prefix={prefix!r:.80} must be a str; leave it out for all channels")


def check_bind(bind: str, advertise: str | None, *, meant: bool) -> None:
    """Refuse an endpoint that cannot be listened on, or that opens a node by accident.

    `meant`: there is a secret, or it was said that none is wanted.
    """
    unchecked: object = bind
    if isinstance(unchecked, int):
        raise ConfigError(f"bind={bind!r}: write 'tcp://127.0.0.1:{bind}' to listen on that port")
    if not isinstance(unchecked, str):
        raise ConfigError(f"bind={bind!r:.80}: write tcp://host:port, as a str")
    scheme, _, rest = bind.partition("://")
    if scheme not in ("tcp", "ipc") or not rest:
        raise ConfigError(f"bind={bind!r}: write tcp://host:port, tcp://host:* or ipc://path")
    if advertise is not None and not is_endpoint(advertise):
        raise ConfigError(f"advertise={advertise!r}: write tcp://host:port as others dial it")
    if scheme == "ipc" or rest.startswith(_LOCAL_HOSTS):
        return
    if not meant:
        raise ConfigError(
            f"bind={bind!r} opens this node to the network without encryption or a secret; pass "
            "secret=... (`crdtpubsub keygen` prints one), or bind to 127.0.0.1, or pass "
            "insecure=True if everybody may join who can reach it"
        )
    if advertise is None and rest.startswith(("0.0.0.0:", "*:", "[::]:")):
        raise ConfigError(
            f"bind={bind!r} listens everywhere, which nobody can dial; add "
            "advertise='tcp://this-host:port'"
        )


def made_from_environment(make: Callable[..., T], overrides: Mapping[str, Any]) -> T:
    """What `make` makes of the environment of this process, and of `overrides`, which win."""
    given = from_environment({k: v for k, v in os.environ.items() if _arg(k) not in overrides})
    try:
        return make(**{**given, **overrides})
    except ConfigError as error:
        said = ", ".join(f"CRDTPUBSUB_{name.upper()}" for name in given) or "nothing"
        raise ConfigError(f"{error} (of the environment was read: {said})") from None


def _arg(variable: str) -> str:
    return variable.removeprefix("CRDTPUBSUB_").lower()
