"""How commands introduce themselves, fail and end."""

import subprocess
import sys

import pytest

from bridge import __version__
from bridge.build import build
from bridge.cli.errors import lines
from bridge.core.errors import BridgeError, BrokerUnreachable, ConfigInvalid, Problem
from bridge.dev.rabbitmq import RabbitMQNotInstalled
from tests.cli.conftest import invoke, running

COMMANDS = (
    ["serve"],
    ["dev"],
    ["check"],
    ["health"],
    ["send"],
    ["listen"],
    ["topology", "show"],
    ["topology", "apply"],
    ["parked", "list"],
    ["parked", "show"],
)


def test_version():
    """--version names the package, its version, and whether it is compiled."""
    result = invoke("--version")
    said = f"superoffice-bridge {__version__} ({build()})\n"

    assert (0, said) == (result.exit_code, result.stdout)


def test_help_lists_commands_and_exit_codes():
    """--help alone tells what there is and what the exit codes mean."""
    result = invoke("--help")

    assert 0 == result.exit_code
    assert {command[0] for command in COMMANDS} <= set(result.stdout.split())
    assert all(f" {code} " in result.stdout for code in (0, 1, 2, 69, 78))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_and_takes_a_config(command):
    """Each command has a help text and the option --config."""
    result = invoke(*command, "--help")

    assert 0 == result.exit_code
    assert "--config" in result.stdout


LOADED = """
import sys
from bridge.cli.app import app
try:
    app([*sys.argv[1:], "--config", "none.toml"])
except SystemExit as ended:
    print(ended.code, sorted(name for name in sys.modules if name.startswith("bridge.")))
"""


@pytest.mark.parametrize(
    "command", [["serve"], ["parked", "replay", "--all"], ["spool", "status"]], ids=" ".join
)
def test_commands_for_operators_do_not_load_what_is_for_development(command, tmp_path):
    """A command loads its own modules only, so these have no private broker and no samples."""
    line = [sys.executable, "-c", LOADED, *command]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.stdout.startswith("78 "), done.stderr
    assert f"'bridge.cli.commands.{command[0]}'" in done.stdout
    assert "'bridge.dev" not in done.stdout


@pytest.mark.parametrize(
    "args", [["sned"], ["send"], ["send", "x", "--count", "0"], ["check", "x"]]
)
def test_wrong_usage_is_2(args):
    """What cannot be understood is answered with the usage and exit code 2."""
    assert 2 == invoke(*args).exit_code


@pytest.mark.parametrize(
    "command", [command for command in COMMANDS if command != ["dev"]], ids=" ".join
)
def test_wrong_configuration_is_78_and_names_every_problem(command, directory):
    """Every problem of the file is a line of its own, and the exit code is EX_CONFIG."""
    config = directory / "mine.toml"
    config.write_text('[server]\nport = "x"\nprot = 1\n[broker]\nexchange = ""\n')
    arguments = {"send": ["contact.created"], "listen": ["#"], "show": ["1"]}
    positional = arguments.get(command[-1], []) if command != ["topology", "show"] else []
    result = invoke(*command, *positional, "--config", config)

    assert 78 == result.exit_code
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())
    assert all(key in result.stderr for key in ("server.port", "server.prot", "broker.exchange"))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (78, ConfigInvalid([Problem("file", "key", "allowed")])),
        (69, BrokerUnreachable("amqp://there: refused")),
        (69, RabbitMQNotInstalled()),
        (1, BridgeError("no")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_exit_codes(code, error):
    """Each kind of error has its exit code and at least one line of text."""
    assert code == error.exit_code
    assert all(lines(error))


def test_output_that_nobody_reads_ends_the_command_quietly(directory):
    """A closed pipe ends a command without a traceback, with the code of SIGPIPE."""
    with running("check", cwd=directory, SUPEROFFICE_SECRET="x") as command:
        command.stdout.close()
        command.process.wait(timeout=30)

        assert (141, "") == (command.process.returncode, command.stderr.read())
