"""Nobody sees a secret, neither in settings nor in errors."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from bridge.core.errors import ConfigInvalid
from bridge.settings import load
from tests.settings.support import table

HIDDEN = "hunter2"


def test_no_secret_shows_in_what_was_loaded(path: Path) -> None:
    """Not in any rendering of the settings or of a part, though all of them are there."""
    environ = {
        "SUPEROFFICE_SECRET": HIDDEN,
        "BRIDGE_BROKER__PASSWORD": HIDDEN,
        "BRIDGE_SERVER__ADMIN_TOKEN": HIDDEN,
        "BRIDGE_BROKER__URLS": f"amqp://u:{HIDDEN}@h/",
    }
    loaded = load(path, environ)
    broker, endpoint = loaded.settings.broker, loaded.settings.endpoints[0]
    server = loaded.settings.server
    things = (loaded, loaded.settings, server, broker, endpoint, *broker.urls, *broker.safe_urls())
    dumps = (loaded.settings.model_dump_json(), str(loaded.settings.model_dump()))

    assert (HIDDEN.encode(),) == endpoint.secret_keys
    assert HIDDEN in broker.connection_urls()[0]
    assert server.admin_token
    assert HIDDEN.encode() == server.admin_token.get_secret_value()
    assert not [shown for thing in things for shown in (repr(thing), str(thing)) if HIDDEN in shown]
    assert not [dump for dump in dumps if HIDDEN in dump]


def test_no_secret_shows_in_an_error(path: Path) -> None:
    """Not in problems, messages or a traceback, wherever a secret was put by mistake."""
    path.write_text(
        table("endpoints", secrets=f'["{HIDDEN}", {{ env = "X", default = "{HIDDEN}" }}]')
        + table("endpoints", secrets=f'"{HIDDEN}"')
        + f'[broker]\nurls = ["amqp://u:{HIDDEN}/@h"]\n'
        + f'password = {{ default = "{HIDDEN}", env = "Y", x = "{HIDDEN}" }}\n'
    )
    with pytest.raises(ConfigInvalid) as caught:
        load(path, {"BRIDGE_ROUTES": f'["{HIDDEN}', "BRIDGE_QUEUES": f'["{HIDDEN}"]'})
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.problems)

    assert HIDDEN not in shown
    assert caught.value.__context__ is None


@pytest.mark.parametrize("secret", ["hunter2", "Kjempehemmelig", "a/b+c=", "x" * 300, "x y/z="])
@pytest.mark.parametrize("place", ["env", "file"])
def test_a_secret_in_the_place_of_a_name_does_not_show(path: Path, place: str, secret: str) -> None:
    """Somebody may write the secret where the name of a variable or a file should be."""
    path.write_text(
        table("endpoints", secrets=f'[{{ {place} = "{secret}" }}]')
        + f'[broker]\npassword = {{ {place} = "{secret}" }}\n'
        + f'[server]\nadmin_token = {{ {place} = "{secret}" }}\n'
    )
    with pytest.raises(ConfigInvalid) as caught:
        load(path, {})
    with pytest.raises(ConfigInvalid) as conventional:
        load(None, {"SUPEROFFICE_SECRET_FILE": secret})

    assert 3 == len(caught.value.problems)
    assert secret not in f"{caught.value} {caught.value.problems} {conventional.value}"
