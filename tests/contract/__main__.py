"""``make contract``: write every generated file anew, and take away what is not generated."""

from tests.contract.generated import ROOT, TREE, files

made = files()
for path, content in made.items():
    file = ROOT / path
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists() or file.read_bytes() != content:
        file.write_bytes(content)
        print(path)
for file in (ROOT / TREE).rglob("*.json"):
    path = file.relative_to(ROOT)
    if path not in made and "released" not in path.parts:
        file.unlink()
        print(f"{path} is gone")
