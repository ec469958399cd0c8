"""Moves bytes between processes and does not know what they mean."""

from crdtpubsub.transport.base import (
    FRAME_BYTES_MAX,
    Connected,
    Disconnected,
    FrameIn,
    HandshakeFailed,
    Happening,
    Refused,
    Transport,
    Writable,
    is_endpoint,
)
from crdtpubsub.transport.secret import CurveSecurity
from crdtpubsub.transport.security import Security
from crdtpubsub.transport.zmq import ZmqTransport

__all__ = [
    "FRAME_BYTES_MAX",
    "Connected",
    "CurveSecurity",
    "Disconnected",
    "FrameIn",
    "HandshakeFailed",
    "Happening",
    "Refused",
    "Security",
    "Transport",
    "Writable",
    "ZmqTransport",
    "is_endpoint",
]
