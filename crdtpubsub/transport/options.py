"""ZeroMQ options and limits. Each was measured; the comment says against what it stands."""

from __future__ import annotations

import contextlib
import re
import resource
from typing import Final

import zmq

from crdtpubsub.transport.base import FRAME_BYTES_MAX

SEND_FRAMES_MAX: Final = 128
RECEIVE_FRAMES_MAX: Final = 256
"""Per link. ZeroMQ counts frames, not bytes, at both ends: the bytes a link can hold are this
times the frame size, so whoever sends long frames keeps an outbox bounded in bytes."""

DRAIN_FRAMES_MAX: Final = 256
DRAIN_BYTES_MAX: Final = 1024 * 1024
"""What one `poll` takes from the inbound socket before the caller gets to its other work."""

ANSWER_BYTES_MAX: Final = 4096
"""Nobody answers through an outbound socket; it only has to take handshakes and heartbeats."""

FDS_PER_LINK: Final = 6
"""Mailbox, TCP, both ends of the monitor; the peer's link to us; a refusal check."""
FDS_SPARED: Final = 128
FDS_STRANGERS: Final = 64
"""Connections beyond those of as many peers as we may dial, before the newest are shut."""
RESTORES_MAX: Final = 64
"""An ipc path that somebody deletes is bound again so often: each time leaves a listener behind."""
SOCKETS_MAX: Final = 65535  # ZeroMQ's ceiling; the default is 1023

_OPTIONS: Final = (
    (zmq.LINGER, 0),  # -1, the default, makes term() hang on one undeliverable message
    (zmq.HEARTBEAT_IVL, 1000),  # ms; a peer that is cut off or stopped is noticed in 3 s
    (zmq.HEARTBEAT_TIMEOUT, 3000),
    (zmq.HEARTBEAT_TTL, 3000),
    (zmq.HANDSHAKE_IVL, 5000),  # ms; half-open connections are dropped
    (zmq.TCP_KEEPALIVE, 1),
    (zmq.TCP_KEEPALIVE_IDLE, 30),  # s
    (zmq.TCP_KEEPALIVE_INTVL, 10),  # s
    (zmq.TCP_KEEPALIVE_CNT, 3),
)

INBOUND_OPTIONS: Final = (
    *_OPTIONS,
    (zmq.BACKLOG, 1024),  # everybody reconnects at once after an outage
    (zmq.RCVHWM, RECEIVE_FRAMES_MAX),
    (zmq.SNDHWM, 1),
    (zmq.MAXMSGSIZE, FRAME_BYTES_MAX),
)

OUTBOUND_OPTIONS: Final = (
    *_OPTIONS,
    (zmq.IMMEDIATE, 1),  # without a connection a send fails visibly and queues nothing
    (zmq.CONNECT_TIMEOUT, 2000),  # ms; black holes
    (zmq.RECONNECT_IVL, 100),  # ms
    (zmq.RECONNECT_IVL_MAX, 5000),  # ms; 300 unreachable peers: 0.3 % CPU, 9 % at a flat 100
    (zmq.SNDHWM, SEND_FRAMES_MAX),
    (zmq.RCVHWM, 1),
    (zmq.MAXMSGSIZE, ANSWER_BYTES_MAX),
)


def needs_ipv6(endpoint: str) -> int:
    """1, dual stack, for all but IPv4 numbers: ZeroMQ would tell us those as ::ffff:1.2.3.4."""
    return 0 if re.match(r"tcp://[0-9.]+:", endpoint) else 1


def raise_fd_limit() -> int:
    """Raise the soft limit of open files to the hard one; return what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return SOCKETS_MAX if soft == resource.RLIM_INFINITY else soft
