"""The decoder under a coverage-guided fuzzer, where atheris is installed; it is not required.

    python -m tests.fuzz.atheris_decoder -max_total_time=60 -max_len=4096 CORPUS_DIRECTORY

An empty corpus directory is filled with good frames of every kind first. What it finds, libFuzzer
writes to a file; give that file in place of the directory to see it again.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from tests.fuzz.corpus import CLUSTER, encode, seeds


def main(arguments: list[str]) -> int:
    """Fuzz until libFuzzer ends the process; 0 with a reason where atheris is missing."""
    if importlib.util.find_spec("atheris") is None:
        print("skipped: atheris is not installed (pip install atheris)")
        return 0
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["crdtpubsub.wire", "crdtpubsub.crdt"]):
        codec = importlib.import_module("crdtpubsub.wire.codec")
        for name in ("decode", "reader", "fields", "header"):
            importlib.reload(importlib.import_module(f"crdtpubsub.wire.{name}"))
    decode = importlib.import_module("crdtpubsub.wire.decode")
    for directory in (Path(word) for word in arguments if not word.startswith("-")):
        if directory.is_dir() and not any(directory.iterdir()):
            for number, data in enumerate(seeds(1)):
                (directory / f"seed-{number}").write_bytes(data)

    def one(data: bytes) -> None:
        try:
            heard = decode.Decoder(CLUSTER).decode(data)
        except codec.FrameError:
            return
        assert decode.Decoder(CLUSTER).decode(encode(heard)) == heard

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
