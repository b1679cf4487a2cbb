"""The commands of ``bridge``: one module for each, named as its command."""

NAMES = (
    "serve",
    "dev",
    "check",
    "health",
    "send",
    "listen",
    "topology",
    "parked",
    "spool",
    "contract",
)
"""Commands in the order of the help."""
