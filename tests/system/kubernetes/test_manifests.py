"""config/kubernetes fits the image and the program. `make kubernetes-check` has the schemas."""

from __future__ import annotations

import tomllib
from pathlib import PurePosixPath

import pytest

from bridge.settings import ServerSettings
from tests.project.docs.documents import ROOT
from tests.system.kubernetes.manifests import (
    SECRETS,
    configuration,
    container,
    endpoint_paths,
    image,
    image_environment,
    ingress_paths,
    objects,
    pod,
    servers,
    the,
)

MEBIBYTE = 2**20
PEAK_MIB = 140  # of the soak: docs/reliability.md


def ports():
    """Return the container's ports by name."""
    return {port["name"]: port["containerPort"] for port in container()["ports"]}


def mounts():
    """Return where each volume is mounted."""
    return {mount["name"]: mount["mountPath"] for mount in container()["volumeMounts"]}


def selectors():
    """Return whatever chooses the pods, by who does."""
    spec = pod()["spec"]
    stateful, budget, policy = map(the, ("StatefulSet", "PodDisruptionBudget", "NetworkPolicy"))
    return {
        "headless": the("Service", "superoffice-bridge-pods")["spec"]["selector"],
        "StatefulSet": stateful["spec"]["selector"]["matchLabels"],
        "PodDisruptionBudget": budget["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": policy["spec"]["podSelector"]["matchLabels"],
        **{
            each["topologyKey"]: each["labelSelector"]["matchLabels"]
            for each in spec["topologySpreadConstraints"]
        },
    }


def amount(text):
    """Return a quantity of bytes, such as 4Gi."""
    return int(text[:-2]) * {"Mi": MEBIBYTE, "Gi": 1024 * MEBIBYTE}[text[-2:]]


@pytest.mark.parametrize(("who", "chosen"), selectors().items())
def test_every_selector_chooses_the_pods(who, chosen):
    """A selector that misses them is no error anywhere: there would be nobody behind it."""
    assert chosen
    assert chosen.items() <= pod()["metadata"]["labels"].items(), who


def test_a_pod_can_be_taken_out_of_the_feed_alone():
    """The label that the runbook removes is asked for by its own Service and by nobody else."""
    receives = {"superoffice-bridge/receives": "yes"}
    services = [each for each in objects() if each["kind"] == "Service"]
    asking = [each for each in services if receives.items() <= each["spec"]["selector"].items()]

    assert receives.items() <= pod()["metadata"]["labels"].items()
    assert set(servers()) == {each["metadata"]["name"] for each in asking}
    assert not any(receives.keys() & chosen.keys() for chosen in selectors().values())


def test_ports_are_those_of_the_image_and_of_the_program():
    """What the image exposes is where the bridge listens unless told otherwise."""
    server = ServerSettings()

    assert {"http": server.port, "admin": server.admin_port} == ports()
    assert [str(port) for port in ports().values()] == image("EXPOSE")


def test_services_and_ingress_lead_to_ports_that_exist():
    """Names are resolved from the Ingress to the Service, and from there to HAProxy."""
    public, headless = the("Service"), the("Service", "superoffice-bridge-pods")
    [http], [admin] = public["spec"]["ports"], headless["spec"]["ports"]
    [rule] = the("Ingress")["spec"]["rules"]

    assert ("http", "admin") == (http["targetPort"], admin["targetPort"])
    assert headless["metadata"]["name"] == the("StatefulSet")["spec"]["serviceName"]
    for path in rule["http"]["paths"]:
        service = path["backend"]["service"]
        assert (public["metadata"]["name"], http["name"]) == (
            service["name"],
            service["port"]["name"],
        )


def test_the_ingress_has_the_paths_of_the_endpoints():
    """No webhook is answered 404 by the proxy, and nothing else gets through."""
    assert endpoint_paths(configuration()) == ingress_paths(the("Ingress"))


def test_the_network_policy_lets_through_what_is_needed():
    """In: both ports. Out: the broker's ports, with and without TLS, and names."""
    spec = the("NetworkPolicy")["spec"]
    came_in = [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
    go_out = [
        (port["port"], port.get("protocol", "TCP"))
        for rule in spec["egress"]
        for port in rule["ports"]
    ]

    assert [*ports(), "admin"] == came_in  # HAProxy to both, Prometheus to one
    assert [(5672, "TCP"), (5671, "TCP"), (53, "TCP"), (53, "UDP")] == go_out


def test_it_runs_as_the_user_of_the_image():
    """The volume and the secrets belong to the group that the process has."""
    security = pod()["spec"]["securityContext"]
    user = security["runAsUser"], security["runAsGroup"]

    assert image("USER") == [":".join(map(str, user))]
    assert user == (security["fsGroup"],) * 2


def test_it_has_no_rights():
    """As the standard "restricted" for pods asks, and on a root file system that is read-only."""
    spec, of = pod()["spec"], container()["securityContext"]

    assert spec["securityContext"]["runAsNonRoot"]
    assert {"type": "RuntimeDefault"} == spec["securityContext"]["seccompProfile"]
    assert not spec["automountServiceAccountToken"]
    assert not of["allowPrivilegeEscalation"]
    assert of["readOnlyRootFilesystem"]
    assert {"drop": ["ALL"]} == of["capabilities"]


def test_volumes_are_mounted_where_the_image_looks():
    """The configuration where commands find it, the spool where it is written, secrets as named."""
    [workdir], [volume] = image("WORKDIR"), image("VOLUME")
    spool = PurePosixPath(image_environment()["BRIDGE_SPOOL__PATH"])

    assert {
        "spool": volume,
        "configuration": f"{workdir}/config",
        "secrets": SECRETS.rstrip("/"),
    } == mounts()
    assert volume == str(spool.parent)
    assert not any("subPath" in mount for mount in container()["volumeMounts"])


def test_a_volume_is_there_for_each_mount():
    """Volumes of the pod, and of the template of claims, which alone may be written to."""
    [claim] = the("StatefulSet")["spec"]["volumeClaimTemplates"]
    named = {volume["name"] for volume in pod()["spec"]["volumes"]} | {claim["metadata"]["name"]}
    written = {mount["name"] for mount in container()["volumeMounts"] if not mount.get("readOnly")}

    assert named == set(mounts())
    assert {claim["metadata"]["name"]} == written


def test_the_spool_outlives_its_pod():
    """Neither a deleted StatefulSet nor fewer replicas take a volume away."""
    retention = the("StatefulSet")["spec"]["persistentVolumeClaimRetentionPolicy"]

    assert {"whenDeleted": "Retain", "whenScaled": "Retain"} == retention


def test_a_stop_is_longer_than_the_bridge_needs():
    """The pause before it and the bridge's own grace leave ten seconds for disk and broker."""
    pause = container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = pod()["spec"]["terminationGracePeriodSeconds"]

    assert grace >= pause + ServerSettings().shutdown_grace_seconds + 10


def test_a_start_is_longer_than_the_wait_for_the_spool():
    """Nobody kills a bridge that waits for its predecessor's lock."""
    probe = container()["startupProbe"]
    allowed = probe["periodSeconds"] * probe["failureThreshold"]

    assert allowed >= 10 * ServerSettings().shutdown_grace_seconds


def test_memory_is_enough_for_all_connections():
    """Each may hold a body of the largest size, for a moment twice; the rest is measured."""
    server = ServerSettings(**_section("server", "max_connections"))
    bodies = 2 * server.max_connections * server.max_body_bytes
    limit = amount(container()["resources"]["limits"]["memory"])

    assert limit >= bodies + PEAK_MIB * MEBIBYTE


def test_the_volume_is_enough_for_the_spool():
    """Twice max_bytes on disk, and the same once more for a damaged one that is kept."""
    [claim] = the("StatefulSet")["spec"]["volumeClaimTemplates"]
    storage = amount(claim["spec"]["resources"]["requests"]["storage"])

    assert storage >= 4 * _section("spool", "max_bytes")["max_bytes"]


def test_the_image_is_of_this_version():
    """The tag is the version of pyproject.toml, not whatever is latest."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert f"superoffice-bridge:{version}" == container()["image"]


def test_there_is_no_secret_among_the_manifests():
    """They name one, which whoever installs the bridge has made."""
    assert "Secret" not in {each["kind"] for each in objects()}
    assert not container().get("env")


def _section(name, *keys):
    values = tomllib.loads(configuration())[name]
    return {key: values[key] for key in keys}
