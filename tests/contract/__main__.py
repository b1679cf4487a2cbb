"""``make contract``: write every generated file anew, and take away what is not generated.

With ``--released``, later contracts are compared with the present one.
"""

import sys
from pathlib import Path

from bridge.contract.documents import encode
from tests.contract.generated import RELEASED, ROOT, TREE, current, files


def write(path: Path, content: bytes) -> None:
    """Write a file if it changes, and say so."""
    file = ROOT / path
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists() or file.read_bytes() != content:
        file.write_bytes(content)
        print(path)


made = files()
for path, content in made.items():
    write(path, content)
for file in (ROOT / TREE).rglob("*.json"):
    if file.relative_to(ROOT) not in made:
        file.unlink()
        print(f"{file.relative_to(ROOT)} is gone")
if "--released" in sys.argv:
    write(RELEASED, encode(current()))
