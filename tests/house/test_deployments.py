"""What the examples for containers name exists, and means one thing in all of its places.

No cluster runs them here; a YAML that does not parse, a port that differs or a variable that
nobody reads would be found by the first reader. Their schemas are large, and looked at where they
are installed: `pip install -e '.[dev,schemas]'`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from crdtpubsub import Node

yaml = pytest.importorskip("yaml", reason="pyyaml is not installed: pip install -e '.[dev]'")

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
READ: Final = {
    f"CRDTPUBSUB_{name}" for name in re.findall(r"_([A-Z]+)`", str(Node.from_env.__doc__))
}
SECRET: Final = "long enough to be a secret"


def documents(path: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / path).read_text("utf-8")))


def described(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Node:
    """The node that `examples/app.py` would start; everything it is told is read."""
    ours = {name for name in environment if name.startswith("CRDTPUBSUB_")}
    assert ours <= READ, f"nobody reads {ours - READ}"
    for name in READ:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert "Node.from_env()" in (EXAMPLES / "app.py").read_text("utf-8")
    return Node.from_env()


def test_the_variables_are_those_that_are_read() -> None:
    assert {"CRDTPUBSUB_BIND", "CRDTPUBSUB_SEEDS", "CRDTPUBSUB_ADVERTISE"} < READ
    assert len(READ) == 6


def test_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    service, deployment = documents("kubernetes/fleet.yaml")
    assert (service["kind"], deployment["kind"]) == ("Service", "Deployment")
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    labels = template["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["clusterIP"] == "None", "headless: the name leads to the pods"
    assert service["spec"]["publishNotReadyAddresses"] is True

    given: dict[str, str] = {}
    for entry in container["env"]:
        match entry:
            case {"value": value}:  # kubernetes puts in what is defined above, and no more
                for known, text in given.items():
                    value = value.replace(f"$({known})", text)
                assert "$(" not in value, f"{entry['name']} needs what is defined below it"
                given[entry["name"]] = value
            case {"valueFrom": {"fieldRef": {"fieldPath": path}}}:
                given[entry["name"]] = {"status.podIP": "10.0.0.5", "metadata.name": "p-1"}[path]
            case {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}:
                readme = (EXAMPLES / "kubernetes/README.md").read_text("utf-8")
                assert f"create secret generic {name} --from-literal={key}=" in readme
                given[entry["name"]] = SECRET
            case _:
                raise AssertionError(entry)
    node = described(given, monkeypatch)
    assert node.name == "p-1"
    (port,) = [port["port"] for port in service["spec"]["ports"]]
    assert [one["containerPort"] for one in container["ports"]] == [port]
    assert given["CRDTPUBSUB_BIND"] == f"tcp://0.0.0.0:{port}"
    assert given["CRDTPUBSUB_ADVERTISE"] == f"tcp://10.0.0.5:{port}"
    assert given["CRDTPUBSUB_SEEDS"] == f"dns://{service['metadata']['name']}:{port}"
    assert container["command"] == ["python", "/app.py"]


def test_compose(monkeypatch: pytest.MonkeyPatch) -> None:
    (compose,) = documents("compose/docker-compose.yml")
    ((name, service),) = compose["services"].items()
    given = dict(service["environment"])
    needed = re.fullmatch(r"\$\{(\w+):\?.+\}", given["CRDTPUBSUB_SECRET"])
    assert needed is not None
    readme = (EXAMPLES / "compose/README.md").read_text("utf-8")
    assert f'export {needed[1]}="$(crdtpubsub keygen)"' in readme
    given["CRDTPUBSUB_SECRET"] = SECRET

    shell, option, line = service["command"]
    assert (shell, option) == ("sh", "-c")
    said = re.fullmatch(
        r"(CRDTPUBSUB_\w+)=tcp://\$\$\(hostname -i\):(\d+) exec python /app\.py", line
    )
    assert said is not None, "one $ would be asked of Compose, not of the shell"
    given[said[1]] = f"tcp://10.0.0.5:{said[2]}"
    described(given, monkeypatch)
    port = said[2]
    assert said[1] == "CRDTPUBSUB_ADVERTISE"
    assert given["CRDTPUBSUB_BIND"] == f"tcp://0.0.0.0:{port}"
    assert given["CRDTPUBSUB_SEEDS"] == f"dns://{name}:{port}"
    assert service["deploy"]["replicas"] > 1


KUBERNETES: Final = ("1.30", "1.34")
MISSPELT: Final = {
    "kubernetes/fleet.yaml": ("containerPort:", "clusterIP:", "fieldPath:", "replicas:"),
    "compose/docker-compose.yml": ("replicas:", "environment:", "command:"),
}


def is_kubernetes(text: str) -> None:
    """Raises if the schema of that version knows a word of it not, or misses one."""
    validate: Any = pytest.importorskip("kubernetes_validate").validate
    for document in yaml.safe_load_all(text):
        for version in KUBERNETES:
            validate(document, version, strict=True)


def is_compose(text: str) -> None:
    """The same of the Compose specification."""
    pytest.importorskip("compose_spec").PyCompose.from_yaml(text).validate()


@pytest.mark.parametrize(
    ("path", "check"),
    [("kubernetes/fleet.yaml", is_kubernetes), ("compose/docker-compose.yml", is_compose)],
)
def test_the_schema_takes_it_and_no_misspelt_word(path: str, check: Callable[[str], None]) -> None:
    text = (EXAMPLES / path).read_text("utf-8")
    check(text)
    for word in MISSPELT[path]:
        assert word in text
        with pytest.raises(Exception, match=r"(?i)additional|unexpected|required|extension key"):
            check(text.replace(word, f"x{word}"))
