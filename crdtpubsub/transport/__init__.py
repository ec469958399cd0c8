"""Moves bytes between processes and does not know what they mean."""

from crdtpubsub.transport.base import (
    FRAME_BYTES_MAX,
    Connected,
    Disconnected,
    FrameIn,
    Happening,
    Refused,
    Transport,
    Writable,
    is_endpoint,
)
from crdtpubsub.transport.zmq import ZmqTransport

__all__ = [
    "FRAME_BYTES_MAX",
    "Connected",
    "Disconnected",
    "FrameIn",
    "Happening",
    "Refused",
    "Transport",
    "Writable",
    "ZmqTransport",
    "is_endpoint",
]
