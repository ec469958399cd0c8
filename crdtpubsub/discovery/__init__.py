"""Where other nodes may be: a directory of one's own on this host, and names that are resolved."""

from crdtpubsub.discovery.local import Rendezvous
from crdtpubsub.discovery.names import Names
from crdtpubsub.discovery.seeds import Seeds, is_dns

__all__ = ["Names", "Rendezvous", "Seeds", "is_dns"]
