"""Refresh the taught cells of the notebooks from helpers/, their one source.

A taught cell names what it shows in its metadata: {"taught": "helpers.vae:VAE.elbo"}.

usage: taught.py [--check] [NOTEBOOK ...]     --check changes nothing; exit 1 where a cell differs
"""

import ast
import sys
import textwrap
from pathlib import Path

import nbformat

import course


def helper_source(name: str) -> str:
    """Return the source of "package.module:Qualified.name", dedented, decorators included.

    Raises
    ------
    ValueError
        The name is not of that form, or there is no such module or definition.
    """
    module, colon, qualified = name.partition(":")
    path = course.ROOT / (module.replace(".", "/") + ".py")
    if not (colon and qualified):
        raise ValueError(f"{name!r} is not of the form package.module:name")
    if not path.is_file():
        raise ValueError(f"{name!r}: there is no module {module}")
    text = path.read_text(encoding="utf-8")
    node = ast.parse(text)
    for part in qualified.split("."):
        node = next((child for child in node.body if part in _names(child)), None)
        if node is None:
            raise ValueError(f"{name!r}: {module} defines no {qualified}")
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return textwrap.dedent("\n".join(text.split("\n")[first - 1 : node.end_lineno]))


def _names(node) -> list[str]:
    """Return the names that a statement defines: a function, a class or a constant."""
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return [node.name] if hasattr(node, "name") and hasattr(node, "body") else []


def same_code(first: str, second: str) -> bool:
    """Return whether two sources are the same syntax tree: comments and line breaks aside."""
    try:
        return ast.dump(ast.parse(first)) == ast.dump(ast.parse(second))
    except SyntaxError:
        return False


def taught_cells(nb) -> list[tuple[str, dict]]:
    """Return (name, cell) of every taught cell."""
    cells = [cell for cell in nb["cells"] if cell["cell_type"] == "code"]
    return [(c["metadata"]["taught"], c) for c in cells if "taught" in c["metadata"]]


def differences(paths: list[Path]) -> list[str]:
    """Return a line for every taught cell that differs, names nothing, or is taught twice."""
    found, seen = [], {}
    for path in paths:
        for name, cell in taught_cells(course.read(path)):
            if name in seen:
                found.append(f"{path.name}: {name} is taught in {seen[name]} already")
            seen[name] = path.name
            try:
                if not same_code(helper_source(name), course.source_of(cell)):
                    found.append(f"{path.name}: the cell of {name} differs from helpers/")
            except ValueError as error:
                found.append(f"{path.name}: {error}")
    return found


def refresh(path: Path) -> list[str]:
    """Rewrite the taught cells of one notebook; return the names of those that changed."""
    nb, changed = course.read(path), []
    for name, cell in taught_cells(nb):
        text = helper_source(name)
        if course.source_of(cell) != text:
            cell["source"] = text
            changed.append(name)
    if changed:
        nbformat.write(nb, path)
    return changed


def main(arguments: list[str]) -> int:
    """Refresh or check the notebooks named, or all."""
    check = "--check" in arguments
    named = [Path(name) for name in arguments if name != "--check"]
    if unknown := [path for path in named if not path.is_file()]:
        sys.exit(f"error: no such notebook: {', '.join(map(str, unknown))}\n\n{__doc__}")
    paths = named or course.notebook_paths()
    if check:
        found = differences(paths)
        print("\n".join(found) or "every taught cell equals its helper")
        return 1 if found else 0
    try:
        for path in paths:
            for name in refresh(path):
                print(f"{path.name}: {name} refreshed; run the notebook again")
    except ValueError as error:
        sys.exit(f"error: {path.name}: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
