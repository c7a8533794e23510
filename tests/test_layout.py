"""The house stands: imports only go down its floors, and rooms on one floor do not import each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import saccade

ROOT = Path(saccade.__file__).parent
FLOORS = [
    ["types", "errors", "weights"],
    ["layers", "video", "index", "evaluate"],
    ["encode", "compress", "language", "datasets", "train"],
    ["retrieve", "ground", "caption", "chat"],
    ["ingest", "moments", "feedback", "curate"],
    ["library", "export", "maintain"],
    ["recipes", "serve"],
    ["cli", "__main__"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
NEIGHBOURS_ALLOWED = {("types", "errors"), ("weights", "errors"), ("__main__", "cli")}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported_rooms(path: Path) -> set[str]:
    """Rooms this module imports, inside functions too; imports under TYPE_CHECKING do not count."""
    rooms: set[str] = set()
    package = ["saccade", *path.relative_to(ROOT).parts[:-1]]
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if is_type_checking(node):
            continue
        pending.extend(ast.iter_child_nodes(node))
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module] if node.module else base)
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "saccade" else [module]
        for name in names:
            parts = name.split(".")
            if parts[0] == "saccade" and len(parts) > 1:
                rooms.add(parts[1])
    return {room for room in rooms if (ROOT / room).is_dir() or (ROOT / f"{room}.py").is_file()}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    room = room_of(path)
    assert room in FLOOR, f"{room} has no floor: give it one in the design and here"
    for other in imported_rooms(path) - {room}:
        below = FLOOR[other] < FLOOR[room] or (room, other) in NEIGHBOURS_ALLOWED
        assert below, f"{path.relative_to(ROOT)} (floor {FLOOR[room]}) imports {other} (floor {FLOOR[other]})"


def test_the_product_imports_no_torch() -> None:
    laboratory = {"layers", "compress", "language", "train", "retrieve", "ground", "caption", "chat", "recipes"}
    of_training = {ROOT / "encode" / "efficientnet_lite.py"}
    for path in MODULES:
        if room_of(path) in laboratory or path in of_training:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in {"torch", "transformers"} for name in names), path


def test_no_junk_drawers() -> None:
    for path in MODULES:
        assert not {"utils", "util", "common", "helpers", "misc"} & set(path.with_suffix("").parts), path


def test_the_facade_stays_readable() -> None:
    lines = (ROOT / "library.py").read_text().splitlines()
    assert sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines) <= 420
    tree = ast.parse("\n".join(lines))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    prose = sum(
        len((ast.get_docstring(node) or "").splitlines()) for node in ast.walk(tree) if isinstance(node, documented)
    )
    code = sum(bool(line.strip()) for line in lines) - prose
    assert code <= 300, f"library.py has {code} lines of code; it is read first, keep it at 300"
