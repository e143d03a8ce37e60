"""What a committed notebook must look like.

usage: hygiene.py [NOTEBOOK ...]     print every problem; exit 1 where there is one
"""

import re
import statistics
import sys
from pathlib import Path

import course

MACHINE_PATH = re.compile(r"/(root|home|work|tmp|Users|usr/local)/[\w.+-]|[A-Z]:\\Users\\")
# Colours that look alike to some readers, or rise and fall in lightness.
UNSAFE_MAP = re.compile(r"""["'](jet|hsv|brg|prism|RdYlGn|(?:gist_)?rainbow|nipy_spectral)["'_]""")
ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")
HEADINGS = ("Summary", "Exercises", "References")
MEGABYTE = 1e6
LIMIT_MB, GIF_LIMIT, HTML_LIMIT = 1.5, 350_000, 400_000
CHECKED = "nbval-check-output"


def _text(output) -> str:
    data = output.get("data", {})
    parts = [output.get("text", ""), output.get("traceback", "")]
    parts += [data.get(kind, "") for kind in ("text/plain", "text/html", "text/markdown")]
    return "".join("".join(part) for part in parts)


def _output_problems(output, tags) -> list[str]:
    """Return what is wrong with one output of a cell that has these tags."""
    found, text, data = [], _text(output), output.get("data", {})
    html = "".join(data.get("text/html", ""))
    if output.get("name") == "stderr":
        found.append("prints to stderr")
    if output["output_type"] == "error" and "raises-exception" not in tags:
        found.append("ends in an error")
    if MACHINE_PATH.search(text):
        found.append("shows a machine path")
    if ADDRESS.search(text):
        found.append("shows a memory address")
    if output.get("name") == "stdout" and "\r" in text:
        found.append("prints a carriage return (a progress bar?)")
    if any("widget" in kind for kind in data):
        found.append("shows a widget")
    if "image/gif" in data:
        found.append("holds a bare GIF: show it as HTML <img alt=…>")
    for kind in ("image/png", "image/jpeg", "image/svg+xml"):
        meta = output.get("metadata", {})
        if kind in data and not (meta.get(kind, {}).get("alt") or meta.get("alt")):
            found.append(f"{kind} has no alt text")
    for image in re.findall(r"<img\b[^>]*>", html):
        if not re.search(r"""\balt=(["'])\s*[^"'\s]""", image):
            found.append("an HTML image has no alt text")
    gifs = re.findall(r"data:image/gif;base64,[^\"']*", html)
    if any(len(gif) > GIF_LIMIT for gif in gifs):
        found.append(f"a GIF has more than {GIF_LIMIT // 1000} kB")
    if len(html) - sum(map(len, gifs)) > HTML_LIMIT:
        found.append(f"its HTML has more than {HTML_LIMIT // 1000} kB")
    return found


def problems(nb, *, size: int, solutions: bool = False) -> list[str]:
    """Return what is wrong with a notebook as committed.

    Parameters
    ----------
    nb : NotebookNode
        As stored.
    size : int
        Of the file, in bytes.
    solutions : bool
        Whether it holds solutions: those need less prose and no pictures.
    """
    found, cells = [], nb["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    prose = [course.source_of(cell) for cell in cells if cell["cell_type"] == "markdown"]
    sources = [course.source_of(cell) for cell in code]
    # Format
    if (nb["nbformat"], nb["nbformat_minor"]) != (4, 5):
        found.append(f"nbformat {nb['nbformat']}.{nb['nbformat_minor']}, want 4.5")
    ids = [cell.get("id") for cell in cells]
    if not all(ids) or len(set(ids)) < len(ids):
        found.append("cell ids are missing or repeated")
    if nb["metadata"].get("kernelspec", {}).get("name") != "python3":
        found.append("the kernelspec is not python3")
    if "widgets" in nb["metadata"]:
        found.append("holds widget state")
    if size > LIMIT_MB * MEGABYTE:
        found.append(f"{size / MEGABYTE:.2f} MB, want at most {LIMIT_MB}")
    # Run
    counts = [cell["execution_count"] for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append("execution counts are not 1…n: not from one run")
    for number, cell in enumerate(code, start=1):
        for output in cell["outputs"]:
            cell_found = _output_problems(output, course.tags(cell))
            found += [f"code cell {number} {problem}" for problem in cell_found]
        if CHECKED in course.tags(cell) and not cell["outputs"]:
            found.append(f"code cell {number} is tagged {CHECKED} but shows nothing")
    # Prose and rhythm
    plain = re.sub(r"```.*?```", "", "\n".join(prose), flags=re.DOTALL)  # a # in code is no heading
    lines = plain.split("\n")
    titles = [line for line in lines if line.startswith("# ")]
    if len(titles) != 1:
        found.append(f"{len(titles)} H1 headings, want 1")
    if any(re.search(r"!\[\s*\]\(", line) for line in lines):
        found.append("a picture in the prose has no alt text")
    lengths = [sum(bool(line.strip()) for line in text.split("\n")) for text in sources] or [0]
    if min(lengths) == 0:
        found.append("an empty code cell")
    if statistics.median(lengths) > 6:
        found.append(f"the median code cell has {statistics.median(lengths):g} lines, want 3 to 6")
    if max(lengths) > 40:
        found.append(f"a code cell has {max(lengths)} lines, want at most 40")
    if unsafe := UNSAFE_MAP.search("\n".join(sources)):
        found.append(f"the colour map {unsafe[1]} does not suit colour-blind readers")
    kinds = "".join("c" if cell["cell_type"] == "code" else "m" for cell in cells)
    if "cccc" in kinds:
        found.append("more than 3 code cells in a row without prose")
    if solutions:
        begin = sum(text.count("### BEGIN SOLUTION") for text in sources)
        end = sum(text.count("### END SOLUTION") for text in sources)
        if not begin or begin != end:
            found.append(f"{begin} BEGIN SOLUTION and {end} END SOLUTION marks")
        return found
    words = sum(len(text.split()) for text in prose)
    if words < 1000:
        found.append(f"{words} words of prose, want 1,000 or more")
    headings = " ".join(line for line in lines if line.startswith("#")).lower()
    found += [f"no heading for {name}" for name in HEADINGS if name.lower() not in headings]
    checked = sum(CHECKED in course.tags(cell) for cell in code)
    if checked < 5:
        found.append(f"{checked} cells tagged {CHECKED}, want 5 or more")
    if not any("image/png" in out.get("data", {}) for cell in code for out in cell["outputs"]):
        found.append("no picture in its outputs")
    return found


def problems_of(path: Path) -> list[str]:
    """Return the problems of the notebook at path."""
    nb = course.read(path)
    return problems(nb, size=path.stat().st_size, solutions=path.parent.name == "solutions")


def main(arguments: list[str]) -> int:
    """Print every problem of the notebooks named, or of all."""
    paths = [Path(name) for name in arguments] or course.notebook_paths(solutions=True)
    found = [(path.name, problem) for path in paths for problem in problems_of(path)]
    for name, problem in found:
        print(f"{name}: {problem}")
    print(f"{len(paths)} notebooks, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
