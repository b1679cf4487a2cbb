"""Private names of libraries stand in few places, so that a new version of one is a short look."""

import ast
import inspect
import re
import sys

import aio_pika
import aiohttp
import aiormq
import pamqp.base
import pamqp.commands
import pamqp.frame
from aiohttp import base_protocol, streams, web, web_protocol

from bridge.web.connection import Connection
from bridge.web.server import HttpServer
from tests.test_imports import FILES, PACKAGE

PROTOCOL = PACKAGE / "web" / "protocol.py"

BROKER = PACKAGE / "broker"

NAMEDTUPLE = {"_asdict", "_field_defaults", "_fields", "_make", "_replace"}
"""Names that are public in spite of their underscore."""


def classes(*modules):
    """Return every class that can be had from these modules."""
    members = [value for module in modules for _, value in inspect.getmembers(module)]
    return {value for value in members if inspect.isclass(value)}


AIOHTTP = classes(aiohttp, web, web_protocol, base_protocol, streams)
AMQP = classes(
    aio_pika, aio_pika.abc, aiormq, aiormq.abc, aiormq.channel, aiormq.connection,
    pamqp.base, pamqp.commands, pamqp.frame,
)  # fmt: skip


def is_private(name):
    """Return whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__") and name not in NAMEDTUPLE


def set_in(one):
    """Return the private names that the source of a class or a module sets or reads on itself."""
    try:
        source = inspect.getsource(one)
    except (OSError, TypeError):  # it is written in C
        return set()
    return {*re.findall(r"\bself\.(_[a-z]\w*)", source)}


def private_names(found):
    """Return the private names of these classes, and of those that they derive from."""
    bases = {base for one in found for base in one.__mro__ if base.__module__ != "builtins"}
    names = {name for one in bases for name in vars(one)}
    for module in {one.__module__ for one in bases}:
        names |= set_in(sys.modules[module])
    return {*filter(is_private, names)}


def used(tree):
    """Return the private names that a file asks of anything."""
    attributes = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {*filter(is_private, attributes)}


def defined(tree):
    """Return the names that a file gives to functions and to attributes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names |= {node.attr} if ast.unparse(node.value) == "self" else set()
    return names


def test_private_names_stand_in_few_places():
    """Those of aiohttp in web/protocol, those of aiormq and its kin in the broker's room."""
    theirs = private_names(AIOHTTP | AMQP)
    for path in FILES:
        if path != PROTOCOL and BROKER not in path.parents:
            tree = ast.parse(path.read_text())

            assert set() == (used(tree) & theirs) - defined(tree), path.relative_to(PACKAGE)


def test_own_classes_hide_no_private_name():
    """A class that derives from one of aiohttp gives none of its names another meaning."""
    for one in (Connection, HttpServer):
        theirs = private_names(set(one.__mro__) & AIOHTTP)
        mine = set_in(one) | {*filter(is_private, vars(one))}

        assert set() == mine & theirs


def test_protocol_lists_the_private_names():
    """The comment at its top has each name that it uses, and no other."""
    source = PROTOCOL.read_text()
    lines = re.findall(r"^# (_.*?)(?:\s{2,}|$)", source, re.MULTILINE)
    listed = {name for line in lines for name in re.findall(r"_\w+", line)}
    tree = ast.parse(source)

    assert (used(tree) | defined(tree)) & private_names(AIOHTTP) == listed
