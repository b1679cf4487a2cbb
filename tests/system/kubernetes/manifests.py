"""Reading the manifests as they are written, without kustomize."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

from tests.project.docs.documents import ROOT

DIRECTORY = ROOT / "config" / "kubernetes"
SECRETS = "/run/secrets/superoffice-bridge/"

Manifest = dict[str, Any]


def objects() -> list[Manifest]:
    """Return every object of the base and of the component."""
    files = [*DIRECTORY.glob("base/*.yaml"), *DIRECTORY.glob("monitoring/*.yaml")]
    read = [each for file in files for each in yaml.safe_load_all(file.read_text("utf-8"))]
    return [each for each in read if not each["apiVersion"].startswith("kustomize.")]


def the(kind: str, name: str = "superoffice-bridge") -> Manifest:
    """Return one object."""
    [found] = [x for x in objects() if (x["kind"], x["metadata"]["name"]) == (kind, name)]
    return found


def pod() -> Manifest:
    """Return the template of the pods: metadata and spec."""
    template: Manifest = the("StatefulSet")["spec"]["template"]
    return template


def container() -> Manifest:
    """Return the bridge's container."""
    [found] = pod()["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def configuration(directory: str = "base") -> str:
    """Return the text of a ConfigMap's bridge.toml."""
    return (DIRECTORY / directory / "bridge.toml").read_text("utf-8")


def secret_keys(directory: str = "base") -> set[str]:
    """Return the keys that the Secret must have for a bridge.toml."""
    lines = [line for line in configuration(directory).splitlines() if "optional" not in line]
    return set(re.findall(rf'"{SECRETS}([^"]+)"', "\n".join(lines)))


def haproxy() -> str:
    """Return the text of the ConfigMap's haproxy.cfg."""
    return (DIRECTORY / "base" / "haproxy.cfg").read_text("utf-8")


def servers() -> dict[str, int]:
    """Return the hosts that HAProxy knows as bridges, each with its port, in their order."""
    found = re.findall(r"(?m)^ +server bridge-\d+ (\S+):(\d+)$", haproxy())
    return {host: int(port) for host, port in found}


def endpoint_paths(text: str) -> list[str]:
    """Return the paths that a configuration's endpoints have."""
    return [endpoint["path"] for endpoint in tomllib.loads(text)["endpoints"]]


def ingress_paths(ingress: Manifest) -> list[str]:
    """Return the paths that an Ingress passes on."""
    return [path["path"] for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]


def image(instruction: str) -> list[str]:
    """Return the arguments of an instruction of the Dockerfile's last stage."""
    stage = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ").rpartition("\nFROM ")[2]
    lines = [line.split() for line in stage.splitlines()]
    return [word for line in lines if line[:1] == [instruction] for word in line[1:]]


def image_environment() -> dict[str, str]:
    """Return the variables that the image sets."""
    return dict(pair.split("=", 1) for pair in image("ENV"))
