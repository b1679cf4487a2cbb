"""HAProxy before the pods: its file fits them, and is the one of config/haproxy where it balances.

tests/system/scale runs it before bridges.
"""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from tests.project.docs.documents import ROOT
from tests.system.kubernetes.manifests import (
    DIRECTORY,
    configuration,
    container,
    haproxy,
    pod,
    servers,
    the,
)

NAME = "superoffice-bridge-haproxy"

OWN = {
    "global": r"user|group|chroot|nbthread|hard-stop-after|ssl-default-bind-options",
    "defaults": r"nothing",
    "frontend superoffice": r"bind",
    "backend bridges": r"server",
}
"""Beginnings of lines in which the two files differ, by section."""


def template():
    """Return the template of HAProxy's pods."""
    return the("Deployment", NAME)["spec"]["template"]


def sections(text):
    """Return the lines of each section, without comments."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        code = re.sub(r"\s*(#.*)?$", "", line)
        if code and not code.startswith(" "):
            lines = found[code] = []
        elif code:
            lines.append(code.strip())
    return found


def ports_of(pods):
    """Return the ports of the only container by name."""
    [one] = pods["spec"]["containers"]
    return {port["name"]: port["containerPort"] for port in one["ports"]}


@pytest.mark.parametrize("section", OWN)
def test_it_balances_as_the_file_for_two_machines(section):
    """What tests/system/scale finds out about the one holds for the other."""
    shipped, ours = (
        [
            re.sub(r"maxconn \d+$", "maxconn", line)
            for line in sections(text)[section]
            if not re.match(OWN[section], line)
        ]
        for text in ((ROOT / "config/haproxy/haproxy.cfg").read_text("utf-8"), haproxy())
    )

    assert ours
    assert shipped == ours


def test_each_server_is_the_service_of_a_pod():
    """In the order of the pods, as many as there are replicas, and ready or not."""
    names = [f"superoffice-bridge-{number}" for number in range(len(servers()))]
    check = re.search(r"check port (\d+)", haproxy())

    assert check is not None
    assert names == list(servers())
    assert the("StatefulSet")["spec"]["replicas"] <= len(names)
    for name in names:
        spec = the("Service", name)["spec"]
        ports = {port["targetPort"]: port["port"] for port in spec["ports"]}
        assert name == spec["selector"]["statefulset.kubernetes.io/pod-name"]
        assert {"http": servers()[name], "admin": int(check[1])} == ports
        assert ports_of(pod()) == ports
        assert spec["publishNotReadyAddresses"]


def test_it_listens_where_its_pods_have_ports():
    """For the Ingress, and for the kubelet."""
    bound = {int(port) for port in re.findall(r"(?m)^ +bind :(\d+)$", haproxy())}
    [one] = template()["spec"]["containers"]
    pages = {one[probe]["httpGet"]["path"] for probe in ("livenessProbe", "readinessProbe")}

    assert bound == set(ports_of(template()).values())
    assert pages == set(re.findall(r"path (/\w+)", haproxy()))
    assert [{"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}] == the(
        "Service"
    )["spec"]["ports"]


def test_every_selector_chooses_its_pods():
    """And none of them those of the bridge."""
    policy, budget, deployment = (
        the(kind, NAME)["spec"] for kind in ("NetworkPolicy", "PodDisruptionBudget", "Deployment")
    )
    chosen = [
        the("Service")["spec"]["selector"],
        policy["podSelector"]["matchLabels"],
        budget["selector"]["matchLabels"],
        deployment["selector"]["matchLabels"],
    ]

    assert [template()["metadata"]["labels"]] * len(chosen) == chosen
    assert not chosen[0].items() <= pod()["metadata"]["labels"].items()


def test_policies_let_it_through():
    """From the controller to HAProxy, and from there to both ports of the bridge and to names."""
    ours, bridges = the("NetworkPolicy", NAME)["spec"], the("NetworkPolicy")["spec"]
    to_bridges, names = ours["egress"]
    from_us = bridges["ingress"][0]

    assert [{"port": "http"}] == ours["ingress"][0]["ports"]
    assert template()["metadata"]["labels"] == from_us["from"][0]["podSelector"]["matchLabels"]
    chosen = to_bridges["to"][0]["podSelector"]["matchLabels"]
    assert chosen.items() <= pod()["metadata"]["labels"].items()
    assert [{"port": name} for name in ports_of(pod())] == from_us["ports"] == to_bridges["ports"]
    assert bridges["egress"][-1] == names


def test_all_of_them_leave_room_for_connections():
    """Those of a rollout, too: beyond max_connections a bridge refuses what is not counted here."""
    spec = the("Deployment", NAME)["spec"]
    most = spec["replicas"] + spec["strategy"]["rollingUpdate"]["maxSurge"]
    each = int(sections(haproxy())["backend bridges"][-1 - len(servers())].rpartition(" ")[2])
    limit = tomllib.loads(configuration())["server"]["max_connections"]

    assert most * each < limit


def test_a_stop_is_longer_than_it_takes():
    """The pause, and what requests may take at the most."""
    [one] = template()["spec"]["containers"]
    hard = re.search(r"hard-stop-after (\d+)s", haproxy())

    assert hard is not None
    pause = one["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert template()["spec"]["terminationGracePeriodSeconds"] > pause + int(hard[1])


def test_it_has_no_rights():
    """As little as the bridge, and a user that is not root."""
    [one], spec = template()["spec"]["containers"], template()["spec"]
    security = spec["securityContext"]

    assert container()["securityContext"] == one["securityContext"]
    assert security["runAsNonRoot"]
    assert security["runAsUser"] > 0
    assert pod()["spec"]["securityContext"]["seccompProfile"] == security["seccompProfile"]
    assert not spec["automountServiceAccountToken"]


def test_its_file_is_mounted():
    """Where its command looks for it, under a name that kustomize makes anew with every change."""
    [one] = template()["spec"]["containers"]
    [mount], [volume] = one["volumeMounts"], template()["spec"]["volumes"]
    [made] = [each for each in generated() if each["name"] == volume["configMap"]["name"]]

    assert f"{mount['mountPath']}/{made['files'][0]}" == one["command"][-1]
    assert mount["name"] == volume["name"]
    assert "disableNameSuffixHash" not in made["options"]


def generated():
    """Return the ConfigMaps that kustomize makes."""
    text = (DIRECTORY / "base" / "kustomization.yaml").read_text("utf-8")
    return yaml.safe_load(text)["configMapGenerator"]
