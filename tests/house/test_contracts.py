"""The import contracts of pyproject.toml speak of modules that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "crdtpubsub"


def modules_named_in_contracts() -> list[str]:
    """Every module of ours that some contract names, as a path of names below the package."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    named: set[str] = set()
    for contract in configuration["tool"]["importlinter"]["contracts"]:
        for option in ("source_modules", "forbidden_modules", "modules"):
            for expression in contract.get(option, ()):
                first, _, below = expression.partition(".")
                if first in {"crdtpubsub", "*"} and below:
                    named.add(below)
        for layer in contract.get("layers", ()):
            named.update(re.findall(r"[\w.]+", layer))
    return sorted(named)


@pytest.mark.parametrize("name", modules_named_in_contracts())
def test_a_contract_names_a_module_that_exists(name: str) -> None:
    """`*.name` and `(name)` pass silently over a module that was renamed away."""
    path = PACKAGE.joinpath(*name.split("."))
    assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), (
        f"crdtpubsub.{name} does not exist, so the contracts that name it hold nobody: "
        f"correct them in pyproject.toml"
    )
