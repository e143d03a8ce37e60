"""Write what depends on where the course is published: links to Colab, badges, the first cells.

The address stands in pyproject.toml (`[project.urls]`); REPO sets it, "" takes it away. Every
notebook then gets the same first code cell, which fetches the course where the notebook was opened
alone and does nothing in a checkout. The execution counts move along: the outputs stay those of
the run.

usage: links.py [REPO]     REPO: owner/name on GitHub
       links.py --check    change nothing; exit 1 where something disagrees
"""

import re
import sys
import tomllib
from pathlib import Path

import nbformat

import course

GITHUB, BRANCH, FOLDER = "https://github.com", "main", "vae-hands-on"
COLAB = "https://colab.research.google.com"
STAMP = "bootstrap"  # the id of the first code cell; its note has the id bootstrap-note
FETCH = f"""import importlib.util
import os
import runpy
import subprocess

if importlib.util.find_spec("helpers") is None:  # opened alone, as on Colab: fetch the course
    if not os.path.exists("{FOLDER}"):
        course = ["{GITHUB}/REPO", "{FOLDER}"]
        subprocess.run(["git", "clone", "-q", "--depth=1", *course], check=True)
    runpy.run_path("{FOLDER}/tools/bootstrap.py", run_name="__main__")"""
REFUSE = """import importlib.util

if importlib.util.find_spec("helpers") is None:  # opened alone
    raise ModuleNotFoundError(
        "This notebook needs the course around it: get the whole folder, run `make lab` there "
        "(or `pip install -e .`), and open the notebook in its place."
    )"""
NOTE = (
    "In a checkout of the course the cell above does nothing. It is for a notebook that was opened "
    "alone, as on Colab."
)
BAR = re.compile(r"^(?:\[Open in Colab\]\([^)]*\) · )?(?=.* · )", re.MULTILINE)
URLS = re.compile(r"\[project\.urls\]\n(?:.+\n)*\n")
CITED = re.compile(r"^repository-code:.*\n", re.MULTILINE)


def repository(root: Path) -> str:
    """Return owner/name from pyproject.toml, "" where it is not set."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository", "").removeprefix(f"{GITHUB}/")


def colab(path: Path, repo: str) -> str:
    """Return the address at which Colab opens a lesson."""
    return f"{COLAB}/github/{repo}/blob/{BRANCH}/notebooks/{path.name}"


def first_cell(repo: str) -> str:
    """Return the source of the first code cell."""
    return FETCH.replace("REPO", repo) if repo else REFUSE


def stamped(nb, path: Path, repo: str):
    """Return nb, changed in place: its first code cell, its note, and the link in its bar."""
    cells = nb["cells"]
    old = next((cell for cell in cells if cell.get("id") == STAMP), None)
    cells[:] = [cell for cell in cells if cell.get("id") not in (STAMP, f"{STAMP}-note")]
    place = next(i for i, cell in enumerate(cells) if cell["cell_type"] == "code")
    new = nbformat.v4.new_code_cell(first_cell(repo), id=STAMP, execution_count=1)
    if old is None:  # a cell that does nothing goes first: the others are one later
        for numbered in [part for cell in cells for part in (cell, *cell.get("outputs", ()))]:
            if numbered.get("execution_count"):
                numbered["execution_count"] += 1
    if not cells[place]["execution_count"]:
        new["execution_count"] = None  # not run yet, like the others
    cells[place:place] = [new, nbformat.v4.new_markdown_cell(NOTE, id=f"{STAMP}-note")]
    if path.parent.name != "solutions":
        link = f"[Open in Colab]({colab(path, repo)}) · " if repo else ""
        cells[0]["source"] = BAR.sub(link, course.source_of(cells[0]), count=1)
    return nb


def badges(lessons: list[Path], repo: str) -> str:
    """Return the README's part: two badges, and a link for each lesson; "" without a repository."""
    if not repo:
        return ""
    binder = f"https://mybinder.org/v2/gh/{repo}/{BRANCH}?urlpath=lab/tree/notebooks"
    links = " · ".join(f"[{path.name[:2]}]({colab(path, repo)})" for path in lessons)
    return (
        f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({colab(lessons[0], repo)})\n"
        f"[![Launch Binder](https://mybinder.org/badge_logo.svg)]({binder})\n\n"
        f"Each lesson in Colab: {links}\n"
    )


def files(root: Path, repo: str) -> dict[Path, str]:
    """Return the text of every file that depends on repo, as it should be."""
    texts = {}
    for path in course.notebook_paths(folder=root / "notebooks", solutions=True):
        texts[path] = nbformat.writes(stamped(course.read(path), path, repo)) + "\n"
    address = f"{GITHUB}/{repo}"
    path = root / "pyproject.toml"
    text = URLS.sub("", path.read_text(encoding="utf-8"))
    urls = f'[project.urls]\nRepository = "{address}"\n\n' if repo else ""
    texts[path] = text.replace(
        "[project.optional-dependencies]", f"{urls}[project.optional-dependencies]"
    )
    path = root / "CITATION.cff"
    cited = f"repository-code: {address}\n" if repo else ""
    texts[path] = CITED.sub("", path.read_text(encoding="utf-8")) + cited
    path = root / "README.md"
    lessons = course.notebook_paths(folder=root / "notebooks")
    texts[path] = course.with_block(
        path.read_text(encoding="utf-8"), "links", badges(lessons, repo)
    )
    return texts


def differences(root: Path, repo: str) -> list[str]:
    """Return the files that do not agree with repo."""
    texts = files(root, repo).items()
    return [
        f"{path.relative_to(root)} disagrees with {repo or 'no repository'}: run make links"
        for path, text in texts
        if path.read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str], root: Path = course.ROOT) -> int:
    """Write or check; return the exit code."""
    repo = repository(root)
    if arguments == ["--check"]:
        found = differences(root, repo)
        print("\n".join(found) or f"all files agree: {repo or 'no repository is set'}")
        return 1 if found else 0
    if len(arguments) > 1 or any(not re.fullmatch(r"([\w.-]+/[\w.-]+)?", a) for a in arguments):
        sys.exit(f"error: unexpected arguments {' '.join(arguments)}\n\n{__doc__}")
    for path, text in files(root, *(arguments or [repo])).items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{path.relative_to(root)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
