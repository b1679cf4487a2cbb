"""What commands print, and what they never let through to a terminal."""

import io
import json
import sys

from bridge.cli import output


class Terminal(io.StringIO):
    """An output that says it is a terminal."""

    def isatty(self):
        """Return what a terminal returns."""
        return True


def test_without_a_terminal_tables_are_lines_with_tabs(capsys):
    """Rows without a header, cells with tabs between, and no control characters."""
    output.table(("a", "b"), [(1, "x\x1b[31m\ty"), (2, "å")], flexible="b")

    assert "1\tx\\u001b[31m\\u0009y\n2\tå\n" == capsys.readouterr().out


def test_on_a_terminal_tables_have_a_header_and_fit(monkeypatch):
    """The flexible column folds, so that nothing of it is lost."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "30")
    output.table(("name", "value"), [("short", "v" * 60)], flexible="value")
    plain = terminal.getvalue()

    assert "name" in plain.splitlines()[0]
    assert 60 == plain.count("v") - 1
    assert max(map(len, plain.splitlines()[1:])) <= 30


def test_a_style_shows_on_a_terminal_only(monkeypatch, capsys):
    """Colour never reaches a file or a pipe."""
    output.line("ready", style="bold green")
    plain = capsys.readouterr().out
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    output.line("ready", style="bold green")

    assert "ready\n" == plain
    assert "\x1b[" in terminal.getvalue()


def test_markup_in_data_is_data(monkeypatch):
    """What looks like markup of the library is printed as it is."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    output.table(("id",), [("[red]x[/red] :smile:",)], flexible="id")

    assert "[red]x[/red] :smile:" in terminal.getvalue()


def test_documents_are_one_line_of_ascii(capsys):
    """JSON holds whatever AMQP headers may hold, on one line."""
    output.document({"text": "ø\n", "bytes": b"\xff\x00", "table": {"n": 1}})
    printed = capsys.readouterr().out

    assert printed.isascii()
    assert 1 == printed.count("\n")
    assert {"text": "ø\n", "bytes": "\\xff\x00", "table": {"n": 1}} == json.loads(printed)
