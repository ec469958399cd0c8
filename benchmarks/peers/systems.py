"""The systems: what each needs, how to get it, what it cannot be asked, how it is started."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata, util
from typing import Any, Final

__all__ = ["FLOORS", "OURS", "SYSTEMS", "System", "driver_of", "program"]

OURS: Final = "ours"
FLOORS: Final = ("bare", "bare-batched")

NO_MEMBERS = "it does not know who subscribes"
COUNTS_ONLY = "its pub/sub knows how many subscribe and not who; see redis-set"
NO_NODES = "its clients meet at a broker and form nothing"
NO_DETECTION = "a dict on a socket: nothing that forms or finds anybody"
SAME_MESSAGES = "its messages are those of redis"
ONE_BATCH = "one message does not make a batch; see bare"
ONE_EACH = "a process is one member: it has no local subscribers"
ONE_BYTE = "its thread dies at the 256th join or leave: it counts them in one byte"

TOO_MANY = "100,000 memberships take it minutes; see there"
A_SET_STAYS = "nobody removes what a process left in the set, killed or silent; see kill"
NO_PROBES = "a dict on a socket: it finds who is gone by the reset of the connection alone"

_TURNS = {"join", "memberships", "members", "members-while-joined", "formation", "kill", "stop"}


@dataclass(frozen=True)
class System:
    """One column of the table."""

    name: str
    driver: str
    """`module:class` under `benchmarks.peers`; or empty for Erlang."""

    modules: Sequence[str] = ()
    distributions: Sequence[str] = ()
    programs: Sequence[str] = ()
    server: str = ""
    get: str = ""
    """How to get what is missing; nothing here installs anything."""

    cannot: Mapping[str, str] = field(default_factory=dict)
    """Question -> why it is not asked."""

    namespace: bool = False
    """Speaks to a whole network: asked only where that is one of its own."""

    def missing(self) -> list[str]:
        gone = [name for name in self.modules if util.find_spec(name) is None]
        return gone + [name for name in self.programs if program(name) is None]

    def versions(self) -> dict[str, str]:
        return {name: metadata.version(name) for name in self.distributions}


def program(name: str) -> str | None:
    """Where a program is; Debian puts some where a user's PATH does not look."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


_REDIS: Final[dict[str, Any]] = {
    "modules": ["redis", "hiredis", "uvloop"],
    "distributions": ["redis", "hiredis", "uvloop"],
    "programs": ["redis-server"],
    "server": "redis-server",
    "get": "pip install redis hiredis uvloop; apt-get install redis-server",
}

SYSTEMS: Final = {
    system.name: system
    for system in (
        System(OURS, "system_ours:Ours", distributions=["pyzmq", "msgpack"]),
        System(
            "bare",
            "system_bare:Bare",
            distributions=["pyzmq", "msgpack"],
            cannot={"formation": NO_DETECTION, "stop": NO_PROBES},
        ),
        System(
            "bare-batched",
            "system_bare:BareBatched",
            distributions=["pyzmq", "msgpack"],
            cannot={
                "formation": NO_DETECTION,
                "latency": ONE_BATCH,
                "join": ONE_BATCH,
                "members": "the same dict; see bare",
                "members-while-joined": "the same dict; see bare",
                "kill": "the same socket; see bare",
                "stop": NO_PROBES,
                "idle": "the same socket; see bare",
            },
        ),
        System(
            "pg",
            "",
            programs=["erl", "erlc", "epmd"],
            get="apt-get install erlang-base",
            cannot={"members-while-joined": TOO_MANY},
        ),
        System(
            "redis",
            "system_redis:Redis",
            **_REDIS,
            cannot={
                "join": COUNTS_ONLY,
                "memberships": COUNTS_ONLY,
                "members": COUNTS_ONLY,
                "members-while-joined": COUNTS_ONLY,
                "kill": COUNTS_ONLY,
                "stop": COUNTS_ONLY,
                "formation": NO_NODES,
            },
        ),
        System(
            "redis-set",
            "system_redis:RedisSet",
            **_REDIS,
            cannot={
                "throughput": SAME_MESSAGES,
                "latency": SAME_MESSAGES,
                "fan-out": SAME_MESSAGES,
                "idle": "the same server and client; see redis",
                "formation": NO_NODES,
                "stop": A_SET_STAYS,
            },
        ),
        System(
            "nats",
            "system_nats:Nats",
            modules=["nats", "uvloop"],
            distributions=["nats-py", "uvloop"],
            programs=["nats-server"],
            server="nats-server",
            get="pip install nats-py uvloop; apt-get install nats-server",
            cannot={
                **dict.fromkeys(_TURNS, NO_MEMBERS),
                "formation": NO_NODES,
            },
        ),
        System(
            "zenoh",
            "system_zenoh:Zenoh",
            modules=["zenoh"],
            distributions=["eclipse-zenoh"],
            get="pip install eclipse-zenoh",
            cannot={"members-while-joined": TOO_MANY},
        ),
        System(
            "pyre",
            "system_pyre:Pyre",
            modules=["pyre"],
            distributions=["zeromq-pyre", "pyzmq"],
            get="pip install zeromq-pyre",
            cannot={
                "fan-out": ONE_EACH,
                "memberships": ONE_BYTE,
                "members": ONE_BYTE,
                "members-while-joined": ONE_BYTE,
                "kill": ONE_BYTE,
                "stop": ONE_BYTE,
            },
            namespace=True,
        ),
    )
}


def driver_of(system: str) -> Callable[..., Any]:
    """The class of a system that speaks Python, loaded in the process that needs it."""
    module, _, name = SYSTEMS[system].driver.partition(":")
    made: Callable[..., Any] = getattr(import_module(f"benchmarks.peers.{module}"), name)
    return made
