"""zenoh peers by eclipse-zenoh: BLOCK, batching, callbacks, liveliness tokens as members."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Sequence
from importlib import import_module
from time import monotonic
from typing import Any

from benchmarks.bare import Packer, unpack
from benchmarks.peers.driver import WAIT_S, Driver, Note, Where


class Zenoh(Driver):
    def __init__(self, where: Where) -> None:
        super().__init__(where)
        self._zenoh = import_module("zenoh")
        self._pack = Packer()
        self._kept: list[Any] = []
        self._publishers: dict[str, Any] = {}
        self._tokens: dict[tuple[str, str], Any] = {}
        self._members: dict[str, dict[str, int]] = {}

    async def open(self) -> str:
        config = self._zenoh.Config()
        seeds = [seed for seed in self.where.seeds if seed != "none"]
        config.insert_json5("mode", '"peer"')
        config.insert_json5("scouting/multicast/enabled", "false")
        config.insert_json5("scouting/gossip/enabled", "true")
        config.insert_json5("connect/endpoints", json.dumps(seeds))
        config.insert_json5("listen/endpoints", f'["tcp/127.0.0.1:{self.where.port}"]')
        self._session = self._zenoh.open(config)
        return f"tcp/127.0.0.1:{self.where.port}"

    async def close(self) -> None:
        self._session.close()

    async def met(self, others: int) -> None:
        end = monotonic() + WAIT_S
        while len(self._session.info.peers_zid()) < others:
            assert monotonic() < end, "zenoh peers did not meet"
            await asyncio.sleep(0.002)

    def _publisher(self, channel: str) -> Any:
        if channel not in self._publishers:
            self._publishers[channel] = self._session.declare_publisher(
                f"c/{channel}",
                congestion_control=self._zenoh.CongestionControl.BLOCK,
                reliability=self._zenoh.Reliability.RELIABLE,
            )
        return self._publishers[channel]

    async def subscribe(self, channel: str, note: Note) -> None:
        def heard(sample: Any) -> None:
            note(unpack(sample.payload.to_bytes()))

        self._kept.append(self._session.declare_subscriber(f"c/{channel}", heard))

    async def heard_by(self, channel: str, subscribers: int) -> None:
        publisher = self._publisher(channel)
        end = monotonic() + WAIT_S
        while not publisher.matching_status.matching:
            assert monotonic() < end, "zenoh subscriber did not appear"
            await asyncio.sleep(0.002)
        # It says "some" and not how many: the others have declared at the same time.
        await asyncio.sleep(0.5)

    async def publish_all(self, channel: str, messages: int, pad: bytes) -> None:
        pack, put = self._pack, self._publisher(channel).put
        for n in range(messages):
            put(pack({"n": n, "pad": pad}))

    async def publish(self, channel: str, data: dict[str, Any]) -> None:
        self._publisher(channel).put(self._pack(data))

    # ------------------------------------------------------------ memberships

    async def watch(self, channels: Iterable[str]) -> None:
        put = self._zenoh.SampleKind.PUT

        def heard(sample: Any) -> None:
            _, channel, name = str(sample.key_expr).split("/")
            if sample.kind == put:
                self._members.setdefault(channel, {})[name] = 1
            else:
                self._members.get(channel, {}).pop(name, None)
            self.ring_from_outside()

        live = self._session.liveliness()
        self._kept.append(live.declare_subscriber("m/**", heard, history=True))

    async def join(self, channel: str, name: str) -> None:
        token = self._session.liveliness().declare_token(f"m/{channel}/{name}")
        self._tokens[channel, name] = token

    async def leave(self, channel: str, name: str) -> None:
        self._tokens.pop((channel, name)).undeclare()

    async def join_all(self, rows: Sequence[tuple[str, str]]) -> None:
        declare = self._session.liveliness().declare_token
        for channel, name in rows:
            self._tokens[channel, name] = declare(f"m/{channel}/{name}")

    def count(self, channel: str) -> int:
        return len(self._members.get(channel, ()))

    async def members(self, channel: str) -> int:
        # Its own channel holds 256, and a query fills it before anybody reads.
        handler = self._zenoh.handlers.FifoChannel(100_000)
        return sum(1 for _ in self._session.liveliness().get(f"m/{channel}/*", handler))
