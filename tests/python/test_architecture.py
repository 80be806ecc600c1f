"""The floors of the package: a module imports only what lies on its own floor or below it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import caffe_ext

PACKAGE = Path(caffe_ext.__file__).parent
# From the ground up. Modules of one floor may import one another.
FLOORS = (
    {"errors", "reporting", "_plugin", "_programs"},
    {"runtime"},
    {"storage"},
    {"data"},
    {"models"},
    {"metrics", "bridges", "exchange"},
    {"attacks"},
    {"runs"},
    {"certification", "evaluation", "training"},
    {"studies", "sweeps"},
    {"cli"},
)
HEIGHT = {name: height for height, names in enumerate(FLOORS) for name in names}


def imports(path: Path) -> Iterator[str]:
    """Yield the parts of the package that a file imports, those for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "caffe_ext":
                names = [f"caffe_ext.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("caffe_ext."):
                yield name.split(".")[1]


def test_every_part_has_its_floor() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert parts - {"__init__", "__pycache__"} == set(HEIGHT)


def test_imports_point_down() -> None:
    upwards = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in imports(path)
        if (part := path.relative_to(PACKAGE).parts[0].removesuffix(".py")) in HEIGHT
        and HEIGHT.get(name, 0) > HEIGHT[part]
    ]
    assert upwards == []


def test_nothing_but_the_commands_prints() -> None:
    printing = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in ("cli", "runtime")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert printing == []


def test_csv_is_written_by_one_function() -> None:
    """It sees to it that no cell starts a formula."""
    writers = [
        f"{path.relative_to(PACKAGE)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(alias.name == "csv" for alias in node.names)
    ]
    assert writers == ["reporting.py"]


def test_no_function_or_class_is_named_by_a_participle() -> None:
    """`replaced`, `_joined` or `Stored` say what something is like, not what it does or is."""
    verbs = {"embed", "feed", "seed"}  # and not `embedded`, which would be one
    participles = [
        f"{path.relative_to(PACKAGE)}: {node.name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not any("property" in ast.unparse(one) for one in node.decorator_list)
        and (name := node.name.strip("_").lower()).endswith("ed")
        and "_" not in name
        and name not in verbs
    ]
    assert participles == []
