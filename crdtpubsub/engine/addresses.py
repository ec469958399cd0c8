"""Which endpoints that others name may be dialled. Nothing is resolved here."""

from __future__ import annotations

from ipaddress import ip_address

__all__ = ["is_local"]


def is_local(endpoint: str) -> bool:
    """Whether `endpoint` means this machine wherever it is read: loopback, ipc, no address at all.

    So does every number that is no plain IPv4 address (`127.1`, `0x7f000001`): resolvers take
    those for one, and nobody advertises them honestly. A host name may resolve to anything.
    """
    if not endpoint.startswith("tcp://"):
        return True
    host = endpoint[len("tcp://") :].rpartition(":")[0].strip("[]").partition("%")[0].lower()
    try:
        address = ip_address(host)
    except ValueError:
        last = host.rstrip(".").rpartition(".")[2]
        return not last or last[0].isdigit() or last in ("localhost", "localdomain", "*")
    mapped = getattr(address, "ipv4_mapped", None)
    address = address if mapped is None else mapped
    return address.is_loopback or address.is_unspecified
