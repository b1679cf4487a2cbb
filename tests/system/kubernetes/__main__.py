"""Render the manifests as an operator would, and hold them to Kubernetes' schemas."""

from __future__ import annotations

import copy
import sys

from tests.system.kubernetes.manifests import DIRECTORY, Manifest, endpoint_paths, ingress_paths
from tests.system.kubernetes.schemas import Schemas, releases
from tests.system.kubernetes.tools import render, schemas

SINCE = "1.30"
"""The first release that has everything by default: preStop's ``sleep`` is the newest of it."""

OTHERS = {"ServiceMonitor"}
"""Kinds that are not Kubernetes' own: test_monitoring.py looks at their fields."""


def main() -> None:
    """Exit with all mistakes, if there are any."""
    rendered = {name: render(DIRECTORY / name) for name in ("base", "example")}
    against = [Schemas(schemas(), release) for release in releases(schemas(), since=SINCE)]
    mistakes = [
        f"{name}, Kubernetes {each.release}: {mistake}"
        for name, manifests in rendered.items()
        for each in against
        for mistake in _mistakes(each, manifests)
    ]
    if mistakes:
        sys.exit("\n".join(mistakes))
    for each in against:
        _expect_refusals(each, rendered["base"])
    for name, manifests in rendered.items():
        _expect_paths(name, manifests)
    _expect_namespace(rendered["example"])
    counts = ", ".join(f"{name} {len(manifests)}" for name, manifests in rendered.items())
    print(f"objects: {counts}; valid for Kubernetes {against[0].release} to {against[-1].release}")


def _mistakes(known: Schemas, manifests: list[Manifest]) -> list[str]:
    return [
        f"{manifest['kind']} {manifest['metadata']['name']}: {mistake}"
        for manifest in manifests
        if manifest["kind"] not in OTHERS
        for mistake in known.mistakes(manifest)
    ]


def _expect_refusals(known: Schemas, manifests: list[Manifest]) -> None:
    """See that the schemas refuse what is wrong: else all the above would say nothing."""
    good = next(each for each in manifests if each["kind"] == "StatefulSet")
    unknown, mistyped = copy.deepcopy(good), copy.deepcopy(good)
    unknown["spec"]["template"]["spec"]["containers"][0]["readyProbe"] = {}
    mistyped["spec"]["replicas"] = "two"
    for manifest, word in ((unknown, "readyProbe"), (mistyped, "two")):
        if not any(word in mistake for mistake in known.mistakes(manifest)):
            sys.exit(f"the schemas of Kubernetes {known.release} allow {word}")


def _expect_paths(name: str, manifests: list[Manifest]) -> None:
    """See that the Ingress passes on what the endpoints listen for, also after an overlay."""
    [ingress] = [each for each in manifests if each["kind"] == "Ingress"]
    files = {file: text for each in manifests for file, text in each.get("data", {}).items()}
    listened = endpoint_paths(files["bridge.toml"])
    if ingress_paths(ingress) != listened:
        sys.exit(f"{name}: the paths of the Ingress are not those of the endpoints, {listened}")


def _expect_namespace(manifests: list[Manifest]) -> None:
    """See that an overlay's namespace reaches everything: a Secret is found in its own only."""
    placed = {
        manifest["metadata"].get("namespace")
        for manifest in manifests
        if manifest["kind"] != "Namespace"
    }
    if placed != {"superoffice-bridge"}:
        sys.exit(f"example: its objects are in the namespaces {placed}")


if __name__ == "__main__":
    main()
