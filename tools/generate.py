"""Write everything that is generated, or say what is out of date.

In the notebooks: the taught cells, whose one source is helpers/, the first cell of each, which
fetches the course where a notebook was opened alone, and the line of links below a lesson's title.
In README.md: the lessons, the results, the badges and an animation. In notebooks/pictures/: the
first picture of each lesson, and that animation. A taught cell names what it shows in its metadata:
{"taught": "helpers.vae:VAE.elbo"}; one that writes a whole script, by %%writefile, names the file:
{"taught": "tools/studies/one.py"}.

usage: generate.py [--check]              --check changes nothing; exit 1 where something is stale
       generate.py --address OWNER/NAME   the course is published there on GitHub ("": nowhere)
"""

import argparse
import ast
import base64
import html
import io
import itertools
import re
import sys
import textwrap
import tokenize
import tomllib
from pathlib import Path

import nbformat

import course

GITHUB, COLAB = "https://github.com", "https://colab.research.google.com"
FOLDER = "vae-hands-on"
PROJECT = tomllib.loads((course.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RELEASE = f"v{PROJECT['version']}"  # the tag that Colab and Binder fetch
NOWHERE = f"OWNER/{FOLDER}"  # stands in pyproject.toml and CITATION.cff until there is an address
FIRST_CELL = f'''# @title Fetch the course, where this notebook was opened alone
import importlib.util
import os
import runpy
import subprocess
import sys

ADDRESS, RELEASE = "", "{RELEASE}"  # of the course on GitHub: make links
found = importlib.util.find_spec("helpers")
places = list(found.submodule_search_locations or [found.origin]) if found else []
if places and not os.path.isdir(os.path.join(places[0], "course")):
    raise ImportError(f"{{places[0]}} hides the course's helpers: rename it, restart the kernel.")
if not places and ADDRESS and not os.path.exists("{FOLDER}"):
    command = ["git", "clone", "-q", "--depth=1", f"--branch={{RELEASE}}", ADDRESS, "{FOLDER}"]
    subprocess.run(command, check=True)
if not places and os.path.exists("{FOLDER}"):
    runpy.run_path("{FOLDER}/tools/bootstrap.py", run_name="__main__")
elif not places and "google.colab" in sys.modules:
    raise ModuleNotFoundError(
        "This notebook needs the course around it: upload its folder as {FOLDER}.zip in the "
        "Files panel, run `!unzip -q {FOLDER}.zip` in a new cell, and run this cell again."
    )
elif not places:
    raise ModuleNotFoundError(
        "This notebook needs the course around it: get the whole folder, run `make lab` there "
        "(or `pip install -e .`), and open the notebook in its place."
    )'''
FIRST_CELL_ID = "bootstrap"
GIF = re.compile(r'<img alt="(?P<alt>[^"]*)" src="data:image/gif;base64,(?P<data>[^"]+)">')
FIRST_CELL_METADATA = {"cellView": "form", "jupyter": {"source_hidden": True}}  # Colab, JupyterLab
LIKELIHOODS = (
    "| lesson | data | protocol | model | log p(x), nats | ± images | images | k | seed | epochs "
    "| training | weights | machine |\n"
    "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n"
)
OTHERS = (
    "| lesson | data | protocol | model | metric | value | images | seed | time | machine |\n"
    "| --- | --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |\n"
)


# --- Taught cells --------------------------------------------------------------------------------


def helper_source(name: str, root: Path = course.ROOT) -> str:
    """Return the source of "package.module:Qualified.name" as a lesson shows it.

    It is dedented, decorators included, and of each docstring only the first line is kept.

    Raises
    ------
    ValueError
        The name is not of that form, or there is no such module or definition.
    """
    module, _, qualified = name.partition(":")
    path = root / (module.replace(".", "/") + ".py")
    if not qualified:
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
    lines = text.split("\n")[first - 1 : node.end_lineno]
    return with_short_docstrings(textwrap.dedent("\n".join(lines)))


def _names(node) -> list[str]:
    """Return the names that a statement defines: a function, a class or a constant."""
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return [node.name] if hasattr(node, "name") and hasattr(node, "body") else []


def with_short_docstrings(source: str) -> str:
    """Return the source with the first line only of every docstring."""
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node)
        text = node.body[0] if documented else None
        if text and text.end_lineno > text.lineno:
            lines[text.lineno - 1] = lines[text.lineno - 1].rstrip() + '"""'
            lines[text.lineno : text.end_lineno] = [None] * (text.end_lineno - text.lineno)
    return "\n".join(line for line in lines if line is not None)


def same_code(first: str, second: str) -> bool:
    """Return whether two sources differ in line breaks at most: one syntax tree, equal comments."""
    try:
        return _tree_and_comments(first) == _tree_and_comments(second)
    except (SyntaxError, tokenize.TokenError):
        return False


def _tree_and_comments(source: str) -> tuple[str, list[str]]:
    """Return what the source means and what it remarks."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return ast.dump(ast.parse(source)), [t.string for t in tokens if t.type == tokenize.COMMENT]


def taught_source(name: str, shown: str, root: Path = course.ROOT) -> str:
    """Return what a taught cell has to show, in place of what it shows.

    Of a definition that is `shown` itself where only line breaks differ. Of a file it is the text
    below %%writefile; the cell keeps its first lines, those of magics.

    Raises
    ------
    ValueError
        There is nothing of that name.
    """
    if not name.endswith(".py"):
        source = helper_source(name, root)
        return shown if same_code(source, shown) else source
    if not (root / name).is_file():
        raise ValueError(f"{name!r}: there is no such file")
    magics = list(itertools.takewhile(lambda line: line.startswith("%%"), shown.split("\n")))
    if not any(line.startswith("%%writefile ") for line in magics):
        magics = [f"%%writefile {Path(name).name}"]
    text = (root / name).read_text(encoding="utf-8")
    return "\n".join([*magics, text.rstrip("\n")])


def taught_cells(nb) -> list[tuple[str, dict]]:
    """Return (name, cell) of every taught cell."""
    cells = [cell for cell in nb["cells"] if cell["cell_type"] == "code"]
    return [(c["metadata"]["taught"], c) for c in cells if "taught" in c["metadata"]]


def taught_problems(paths: list[Path], root: Path = course.ROOT) -> list[str]:
    """Return a line for every taught cell that is stale, names nothing, or is taught twice."""
    found, seen = [], {}
    for path in paths:
        for name, cell in taught_cells(course.read(path)):
            if name in seen:
                found.append(f"{path.name}: {name} is taught in {seen[name]} already")
            seen[name] = path.name
            try:
                shown = course.source_of(cell)
                if taught_source(name, shown, root) != shown:
                    found.append(f"{path.name}: the cell of {name} differs from its source")
            except ValueError as error:
                found.append(f"{path.name}: {error}")
    return found


# --- Notebooks -----------------------------------------------------------------------------------


def address_of(root: Path) -> str:
    """Return owner/name of the course on GitHub from pyproject.toml, "" where it has none."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project["urls"]["Repository"].removeprefix(f"{GITHUB}/")
    return "" if address == NOWHERE else address


def colab(lesson: Path, address: str) -> str:
    """Return the address at which Colab opens a lesson."""
    return f"{COLAB}/github/{address}/blob/{RELEASE}/notebooks/{lesson.name}"


def first_cell(address: str) -> str:
    """Return the source of the first code cell of every notebook."""
    return FIRST_CELL.replace('""', f'"{GITHUB}/{address}"', 1) if address else FIRST_CELL


def bar(lesson: Path, lessons: list[Path], titles: dict, address: str) -> str:
    """Return the line of links of a lesson: to Colab, to the one before and to the next."""
    place = lessons.index(lesson)
    parts = [f"[Open in Colab]({colab(lesson, address)})"] if address else []
    if place == 0:
        parts.append("Start of the course")
    else:
        parts.append(f"[← {titles[lessons[place - 1]]}]({lessons[place - 1].name})")
    parts.append(lesson.name[:2])
    if place + 1 < len(lessons):
        parts.append(f"[{titles[lessons[place + 1]]} →]({lessons[place + 1].name})")
    return " · ".join(parts)


def with_bar(text: str, line: str) -> str:
    """Return the first cell of a lesson with the line of links below its title."""
    title, old, *rest = text.split("\n\n", 2)
    if " · " not in old:
        rest = [text.split("\n\n", 1)[1]]
    return "\n\n".join([title, line, *rest])


def refresh(nb, root: Path, address: str) -> None:
    """Renew the first cell and the taught cells of a notebook, in place.

    Raises
    ------
    ValueError
        There is no cell with the id of the first one.
    """
    first = next((cell for cell in nb["cells"] if cell.get("id") == FIRST_CELL_ID), None)
    if first is None:
        raise ValueError(f"no cell has the id {FIRST_CELL_ID!r}: copy it from tools/template.ipynb")
    first.update(source=first_cell(address), metadata=FIRST_CELL_METADATA)
    for name, cell in taught_cells(nb):
        shown = course.source_of(cell)
        source = taught_source(name, shown, root)
        if source != shown:
            cell["source"] = source


def notebooks(root: Path, address: str) -> dict[Path, bytes]:
    """Return the content of every notebook as it should be."""
    folder = root / "notebooks"
    lessons = course.notebook_paths(folder=folder)
    titles = {
        path: f"{path.name[:2]} {course.title_and_sentence(course.read(path))[0]}"
        for path in lessons
    }
    found = {}
    for path in course.notebook_paths(folder=folder, solutions=True):
        nb = course.read(path)
        try:
            refresh(nb, root, address)
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}") from None
        if path in titles:
            text = course.source_of(nb["cells"][0])
            nb["cells"][0]["source"] = with_bar(text, bar(path, lessons, titles, address))
        found[path] = f"{nbformat.writes(nb)}\n".encode()
    return found


# --- README.md and pictures ----------------------------------------------------------------------


def with_block(text: str, name: str, body: str, page: str = "README.md") -> str:
    """Return text with body between the two marks of that name; ValueError where they lack."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
        raise ValueError(f"{page} needs one {begin} and, below it, one {end}")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{body}{end}{rest.split(end)[1]}"


def picture_of(nb) -> tuple[bytes, str]:
    """Return the first PNG among the outputs of a notebook and its alt text, empty before a run."""
    for cell in nb["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                data = "".join(output["data"]["image/png"])
                return base64.b64decode(data), output["metadata"]["image/png"]["alt"]
    return b"", ""


def animation_of(nb) -> tuple[bytes, str]:
    """Return the first GIF among the outputs of a notebook and its alt text, or nothing."""
    for cell in nb["cells"]:
        for output in cell.get("outputs", ()):
            shown = GIF.search("".join(output.get("data", {}).get("text/html", "")))
            if shown:
                return base64.b64decode(shown["data"]), html.unescape(shown["alt"])
    return b"", ""


def badges(lessons: list[Path], address: str) -> str:
    """Return two badges and a link for each lesson; "" without an address."""
    if not address:
        return ""
    binder = f"https://mybinder.org/v2/gh/{address}/{RELEASE}?urlpath=lab/tree/notebooks"
    links = " · ".join(f"[{path.name[:2]}]({colab(path, address)})" for path in lessons)
    return (
        f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({colab(lessons[0], address)})\n"
        f"[![Launch Binder](https://mybinder.org/badge_logo.svg)]({binder})\n\n"
        f"Each lesson in Colab: {links}\n"
    )


def duration(seconds: float | None) -> str:
    """Return seconds below two minutes, else minutes; empty where no time was recorded."""
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def count(number: int | None) -> str:
    """Return a whole number with commas; empty where it was not recorded."""
    return "" if number is None else f"{number:,}"


def row(*cells) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |\n"


def likelihood_row(key: str, entry: dict) -> str:
    """Return the row of a log p(x): what was scored, with how many samples, after what training."""
    cells = [*key.split("/")[:4], f"{entry['value']:.2f}", f"{entry['standard_error']:.2f}"]
    cells += [count(entry["test_images"]), count(entry["samples"]), entry["seed"], entry["epochs"]]
    cells += [duration(entry["seconds"]), count(entry["weights"]), entry["machine"]]
    return row(*cells)


def other_row(key: str, entry: dict) -> str:
    """Return the row of any other number."""
    cells = [*key.split("/"), f"{entry['value']:.4g} {entry.get('unit', '')}".strip()]
    cells += [count(entry.get("test_images")), entry["seed"]]
    cells += [duration(entry["seconds"]), entry["machine"]]
    return row(*cells)


def results_tables(entries: dict) -> str:
    """Return the recorded headlines: a table of likelihoods for each k, and one of the rest.

    A value with k importance samples is a bound, and with another k it is another bound: such
    numbers do not share a column.
    """
    likelihoods, others = {}, []
    for key, entry in sorted(entries.items()):
        if not entry.get("headline"):
            continue
        if key.endswith("/log_px"):
            likelihoods.setdefault(entry["samples"], []).append(likelihood_row(key, entry))
        else:
            others.append(other_row(key, entry))
    tables = [LIKELIHOODS + "".join(likelihoods[k]) for k in sorted(likelihoods, reverse=True)]
    if others:
        tables.append(OTHERS + "".join(others))
    return "\n".join(tables) or "No results have been recorded yet.\n"


def files(root: Path, address: str) -> dict[Path, bytes]:
    """Return the content of every file that is generated, or holds something generated."""
    found, pictures, animation = notebooks(root, address), root / "notebooks" / "pictures", ""
    lessons = course.notebook_paths(folder=root / "notebooks")
    table = "| lesson | what you do | where it ends |\n| --- | --- | --- |\n"
    for path in lessons:
        nb, number = course.read(path), path.name[:2]
        title, sentence = course.title_and_sentence(nb)
        picture, alt = picture_of(nb)
        shown = f"![{alt}](notebooks/pictures/{number}.png)" if picture else ""
        table += row(f"[{number} {title}](notebooks/{path.name})", sentence, shown)
        if picture:
            found[pictures / f"{number}.png"] = picture
        gif, gif_alt = animation_of(nb)
        if gif and not animation:  # the first lesson that has one
            found[pictures / "animation.gif"] = gif
            animation = f"![{gif_alt}](notebooks/pictures/animation.gif)\n"
    results = course.read_results(root / "data" / "results.json")
    text = (root / "README.md").read_text(encoding="utf-8")
    text = with_block(text, "links", badges(lessons, address))
    text = with_block(text, "animation", animation)
    text = with_block(text, "pictures", table)
    text = with_block(text, "results", results_tables(results))
    found[root / "README.md"] = text.encode()
    return found


def set_address(root: Path, address: str) -> None:
    """Replace the address of the course where it is kept: pyproject.toml and CITATION.cff."""
    old = address_of(root) or NOWHERE
    for name in ("pyproject.toml", "CITATION.cff"):
        path = root / name
        text = path.read_text(encoding="utf-8")
        new = text.replace(f"{GITHUB}/{old}", f"{GITHUB}/{address or NOWHERE}")
        path.write_text(new, encoding="utf-8")


def main(arguments: list[str], root: Path = course.ROOT) -> int:
    """Write or check; return the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--address")
    options = parser.parse_args(arguments)
    if options.address is not None:
        if not re.fullmatch(r"([\w.-]+/[\w.-]+)?", options.address):
            parser.error(f"{options.address!r} is not of the form owner/name")
        set_address(root, options.address)
    try:
        wanted = files(root, address_of(root))
    except ValueError as error:
        sys.exit(f"error: {error}")
    stale = [path for path, data in wanted.items() if not _holds(path, data)]
    stray = sorted(set((root / "notebooks" / "pictures").glob("*")) - set(wanted))
    if not options.check:
        for path in stale:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(wanted[path])
        for path in stray:
            path.unlink()
    problems = taught_problems(course.notebook_paths(folder=root / "notebooks"), root)
    said = [f"{path.relative_to(root)} is stale: run make generate" for path in stale]
    said += [f"{path.relative_to(root)} is the picture of no lesson" for path in stray]
    if not options.check:
        said = [f"{path.relative_to(root)} written" for path in stale]
        said += [f"{path.relative_to(root)} removed" for path in stray]
    print("\n".join(problems + said) or "everything that is generated is up to date")
    return 1 if problems or (options.check and said) else 0


def _holds(path: Path, data: bytes) -> bool:
    """Say whether a file is there and holds these bytes."""
    return path.exists() and path.read_bytes() == data


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
