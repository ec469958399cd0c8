"""Spoiled bytes through the decoder: a frame or one `FrameError`, whatever comes."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, is_dataclass
from random import Random
from typing import Any

from crdtpubsub.wire.codec import Decoder, FrameError
from tests.fuzz.corpus import CLUSTER, encode, seeds, spoil

BLOCK = 50_000

PLAIN = {"int": int, "bool": bool, "str": str, "bytes": bytes}


def check(value: Any) -> None:
    """Every field is of the very type it is declared with, and no number beyond 64 bits."""
    for field in fields(value):
        held: Any = getattr(value, field.name)
        if (kind := PLAIN.get(str(field.type))) is not None:
            assert type(held) is kind, f"{field.name} is {held!r:.80}"
            number: Any = held if kind is int else 0
            assert 0 <= number < 2**64, f"{field.name} is {number}"
        for part in held if isinstance(held, tuple) else (held,):
            if is_dataclass(part):
                check(part)


def run(seed: int, block: int, inputs: int) -> Counter[str]:
    """One block; what became of its inputs."""
    dice = Random(f"decoder {seed} {block}")
    good = seeds(seed)
    decoder = Decoder(CLUSTER)
    outcomes: Counter[str] = Counter()
    pool = list(good)
    for _ in range(inputs):
        data = spoil(pool[dice.getrandbits(24) % len(pool)], dice, good)
        try:
            frame = decoder.decode(data)
        except FrameError as error:
            outcomes[error.reason] += 1
            if len(str(error)) >= 250:
                raise AssertionError(f"a long complaint about {data.hex()}") from error
            continue
        outcomes["accepted"] += 1
        check(frame)
        if outcomes["accepted"] % 16 == 0:  # what is heard can be said, and is heard again
            again = decoder.decode(encode(frame))
            assert again == frame, f"heard another thing: {data.hex()}"
        if len(data) < 2000 and len(pool) < 5 * len(good):
            pool.append(data)  # changes upon changes
    outcomes["unknown records"] += decoder.unknown_records
    return outcomes
