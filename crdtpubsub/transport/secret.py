"""One secret string makes the keys of a cluster: CURVE on every link, and who is admitted.

    secret --scrypt--> 64 bytes = the server's secret key | the client's secret key

Whoever holds the string can compute both pairs, so there is nothing else to hand out. A node
listens with the server pair, dials with the client pair, and expects the server pair at the far
end. Two pairs and not one, so that a key is used in one role only; docs/decisions/0010 says the
rest (https://rfc.zeromq.org/spec/26/ is CurveZMQ).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import zmq
from zmq.utils import z85

from crdtpubsub.errors import ConfigError
from crdtpubsub.transport.base import FRAME_BYTES_MAX
from crdtpubsub.transport.security import ADMITTED, DOMAIN, LATER, ZapRequest

__all__ = ["SECRETS_MAX", "SECRET_CHARS_MIN", "CurveSecurity", "check_secrets"]

SECRET_CHARS_MIN: Final = 16
"""Shorter strings are guessed. One recorded handshake is enough to try guesses against."""

SECRETS_MAX: Final = 8
"""Two are enough to roll; each is tried in turn at a stranger's endpoint."""

SALT: Final = b"crdtpubsub/curve/1"
"""Keeps these keys apart from whatever else is derived from the same string."""

SCRYPT_N: Final = 2**14  # with r = 8: 16 MiB and about 50 ms for each guess, and once for us
KEY_BYTES: Final = 32

CURVE_BYTES: Final = 64
"""What CURVE adds to a frame (33 bytes), and ZeroMQ counts against its MAXMSGSIZE."""


class CurveSecurity:
    """Only holders of one of the secrets shake hands with us, and we only with them.

    Holds keys, never a secret, and shows neither.
    """

    __slots__ = ("_admitted", "_keys")

    def __init__(self, secrets: str | Sequence[str]) -> None:
        """Derive the keys; about 50 ms for each secret.

        Args:
            secrets: listen with the first, dial with each in turn, admit who holds any.

        Raises:
            ConfigError: no secret can be used as given, or this libzmq has no CURVE. The message
                shows nothing of a secret.
        """
        checked = check_secrets(secrets)
        if not zmq.has("curve"):
            raise ConfigError(
                "secret=: this libzmq was built without CURVE, so there is no encryption and no "
                "way to tell who holds the secret; install a pyzmq wheel, which has it"
            )
        self._keys = tuple(_Keys(secret) for secret in checked)
        self._admitted = frozenset(keys.client_raw for keys in self._keys)

    def __repr__(self) -> str:
        return f"CurveSecurity({len(self._keys)} secrets)"

    @property
    def keys(self) -> int:
        """See `Security`."""
        return len(self._keys)

    def prepare_inbound(self, socket: zmq.Socket[bytes]) -> None:
        """See `Security`."""
        mine = self._keys[0]
        _enforce(socket)
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, mine.server_public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, mine.server_secret)
        socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX + CURVE_BYTES)

    def prepare_outbound(self, socket: zmq.Socket[bytes], key: int) -> None:
        """See `Security`."""
        mine = self._keys[key]
        _enforce(socket)
        socket.setsockopt(zmq.CURVE_SERVERKEY, mine.server_public)
        socket.setsockopt(zmq.CURVE_PUBLICKEY, mine.client_public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, mine.client_secret)

    def admit(self, request: ZapRequest) -> bytes:
        """See `Security`. The key a client shows is one it has proved to hold."""
        known = (
            request.domain == DOMAIN
            and request.mechanism == b"CURVE"
            and len(request.credentials) == 1
            and request.credentials[0] in self._admitted
        )
        return ADMITTED if known else LATER


class _Keys:
    """The two key pairs of one secret, as ZeroMQ wants them."""

    __slots__ = ("client_public", "client_raw", "client_secret", "server_public", "server_secret")

    def __init__(self, secret: str) -> None:
        said = secret.encode()
        try:
            both = hashlib.scrypt(said, salt=SALT, n=SCRYPT_N, r=8, p=1, dklen=2 * KEY_BYTES)
        except (AttributeError, ValueError, MemoryError) as error:
            raise ConfigError(
                f"secret=: no keys can be derived, scrypt of this Python's OpenSSL says: {error}"
            ) from None
        self.server_secret = z85.encode(both[:KEY_BYTES])
        self.server_public = zmq.curve_public(self.server_secret)
        self.client_secret = z85.encode(both[KEY_BYTES:])
        self.client_public = zmq.curve_public(self.client_secret)
        self.client_raw = z85.decode(self.client_public)


def _enforce(socket: zmq.Socket[bytes]) -> None:
    socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def check_secrets(secrets: str | Sequence[str]) -> tuple[str, ...]:
    """The secrets, each once. Complaints say what is wrong and show nothing of it."""
    unchecked: object = secrets
    if not isinstance(unchecked, str | list | tuple):
        raise ConfigError(
            f"secret= must be a str or a list of str, not {type(unchecked).__name__}; "
            "`crdtpubsub keygen` prints one"
        )
    given: Sequence[object] = (unchecked,) if isinstance(unchecked, str) else unchecked
    if not 0 < len(given) <= SECRETS_MAX:
        raise ConfigError(
            f"secret= is a list of {len(given)}: 1 to {SECRETS_MAX} are allowed; leave it out, or "
            "pass None, to use no secret"
        )
    checked: dict[str, None] = {}
    for place, secret in enumerate(given):
        which = "secret=" if isinstance(secrets, str) else f"secret=, number {place + 1}:"
        if not isinstance(secret, str):
            raise ConfigError(f"{which} must be a str, not {type(secret).__name__}")
        if len(secret) < SECRET_CHARS_MIN:
            raise ConfigError(
                f"{which} is {len(secret)} characters, at least {SECRET_CHARS_MIN} are needed; "
                "`crdtpubsub keygen` prints one that nobody guesses"
            )
        if secret != secret.strip():
            raise ConfigError(
                f"{which} begins or ends with white space; strip what was read from a file"
            )
        if any("\ud800" <= character <= "\udfff" for character in secret):
            raise ConfigError(f"{which} holds a lone surrogate, which UTF-8 cannot carry")
        checked[secret] = None
    return tuple(checked)
