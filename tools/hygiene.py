"""What a committed notebook must look like, and how long a function may be.

The rules stand in tables at the end of this file: for every notebook, for lessons and for
solutions.

usage: hygiene.py [PATH ...]     notebooks, or folders of modules; without a path all notebooks.
                                 Print every problem; exit 1 where there is one
"""

import ast
import re
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import course

MACHINE_PATH = re.compile(r"/(root|home|work|tmp|Users|usr/local)/[\w.+-]|[A-Z]:\\Users\\")
# Colours that look alike to some readers, or rise and fall in lightness.
UNSAFE_MAP = re.compile(r"""["'](jet|hsv|brg|prism|RdYlGn|(?:gist_)?rainbow|nipy_spectral)["'_]""")
ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}")
MACHINERY = {
    "a digest": re.compile(r"sha256|hexdigest|[\"'][0-9a-f]{32,}[\"']"),
    "a registry being patched": re.compile(
        r"\bsetattr\(|^helpers\.[\w.]+ = |^\s*\w+\.[A-Z_]+\[.*\] = ", re.MULTILINE
    ),
    "a mark for the formatter": re.compile(r"# (?:fmt|yapf):"),
    "a mark for the linter": re.compile(r"# noqa"),
    "a returned print": re.compile(r"\breturn print\("),
    "a number being recorded": re.compile(r"\.record\("),
}
CELL_METADATA = {"cellView", "jupyter", "tags", "taught"}
HEADINGS = ("Words we use", "Results", "Summary", "Exercises", "References")
PARTS = ("What you'll do", "What you'll learn", "What you need")
CHECKED, EXERCISE, QUICK, CLOSING = "nbval-check-output", "exercise-check", "quick-sizes", "closing"
FIRST = "bootstrap"  # the id of the cell that fetches the course
MEGABYTE = 1e6
LIMIT_MB, GIF_LIMIT, HTML_LIMIT = 1.5, 350_000, 400_000
MOST_CELLS, MOST_LINES, MEDIAN_LINES, MOST_ASSERTS, MOST_SETUP_LINES = 100, 40, 6, 3, 10
LEAST_CHECKED = 5  # cells of a lesson whose outputs are compared
EXERCISES, FEWER_EXERCISES = 4, {"10": 3}  # of a lesson; of some that are shorter
FUNCTION_LINES = 40


@dataclass
class Notebook:
    """A notebook as the rules look at it; `number` is that of its lesson, such as "03"."""

    nb: dict
    size: int
    number: str = ""

    def __post_init__(self):
        self.cells = self.nb["cells"]
        self.code = [cell for cell in self.cells if cell["cell_type"] == "code"]
        self.prose = [course.source_of(c) for c in self.cells if c["cell_type"] == "markdown"]
        self.sources = [course.source_of(cell) for cell in self.code]
        # What stands behind a # in a block of code is no heading.
        plain = re.sub(r"```.*?```", "", "\n".join(self.prose), flags=re.DOTALL)
        self.lines = plain.split("\n")

    def outputs(self):
        """Yield (number of the code cell, its tags, output)."""
        for number, cell in enumerate(self.code, start=1):
            for output in cell["outputs"]:
                yield number, course.tags(cell), output

    def tagged(self, tag: str) -> list:
        """Return the code cells that have a tag."""
        return [cell for cell in self.code if tag in course.tags(cell)]


def _text(output) -> str:
    """Return what an output says, in whatever form."""
    data = output.get("data", {})
    parts = [output.get("text", ""), output.get("traceback", "")]
    parts += [data.get(kind, "") for kind in ("text/plain", "text/html", "text/markdown")]
    return "".join("".join(part) for part in parts)


def _html(output) -> str:
    """Return the HTML of an output."""
    return "".join(output.get("data", {}).get("text/html", ""))


def _folded(cell) -> bool:
    """Say whether the source of a cell is out of sight until it is clicked."""
    return bool(cell["metadata"].get("jupyter", {}).get("source_hidden"))


# --- Rules of one output: (output, tags of its cell) -> whether it is wrong ----------------------


def prints_to_stderr(output, tags) -> bool:
    """Say whether something was written to stderr."""
    return output.get("name") == "stderr"


def ends_in_an_error(output, tags) -> bool:
    """Say whether the cell failed and was not meant to."""
    return output["output_type"] == "error" and "raises-exception" not in tags


def shows_a_path(output, tags) -> bool:
    """Say whether a folder of the machine is named."""
    return bool(MACHINE_PATH.search(_text(output)))


def shows_an_address(output, tags) -> bool:
    """Say whether a place in memory is named, which no second run repeats."""
    return bool(ADDRESS.search(_text(output)))


def prints_a_carriage_return(output, tags) -> bool:
    """Say whether a line was overwritten, as progress bars do."""
    return output.get("name") == "stdout" and "\r" in _text(output)


def shows_a_widget(output, tags) -> bool:
    """Say whether it needs a kernel to be seen."""
    return any("widget" in kind for kind in output.get("data", {}))


def holds_a_bare_gif(output, tags) -> bool:
    """Say whether it is a GIF that pages would print as text."""
    return "image/gif" in output.get("data", {})


def picture_lacks_alt(output, tags) -> bool:
    """Say whether a picture has no alt text."""
    kinds = [kind for kind in output.get("data", {}) if kind.startswith("image/")]
    metadata = output.get("metadata", {})
    return any(not (metadata.get(k, {}).get("alt") or metadata.get("alt")) for k in kinds)


def html_image_lacks_alt(output, tags) -> bool:
    """Say whether an image in HTML has no alt text."""
    images = re.findall(r"<img\b[^>]*>", _html(output))
    return any(not re.search(r"""\balt=(["'])\s*[^"'\s]""", image) for image in images)


def holds_a_large_gif(output, tags) -> bool:
    """Say whether a GIF in HTML is too large."""
    gifs = re.findall(r"data:image/gif;base64,[^\"']*", _html(output))
    return any(len(gif) > GIF_LIMIT for gif in gifs)


def holds_large_html(output, tags) -> bool:
    """Say whether its HTML is too large, GIFs aside."""
    return len(re.sub(r"data:image/gif;base64,[^\"']*", "", _html(output))) > HTML_LIMIT


def says_only_true(output, tags) -> bool:
    """Say whether all that is shown is True: a reader learns more from the numbers that agree."""
    return _text(output).strip() == "True"


# --- Rules of a notebook: each yields what is wrong ----------------------------------------------


def has_the_format(book):
    """nbformat 4.5, ids, the usual kernel, no widget state, no metadata that editors leave."""
    if (book.nb["nbformat"], book.nb["nbformat_minor"]) != (4, 5):
        yield f"nbformat {book.nb['nbformat']}.{book.nb['nbformat_minor']}, want 4.5"
    ids = [cell.get("id") for cell in book.cells]
    if not all(ids) or len(set(ids)) < len(ids):
        yield "cell ids are missing or repeated"
    if book.nb["metadata"].get("kernelspec", {}).get("name") != "python3":
        yield "the kernelspec is not python3"
    if "widgets" in book.nb["metadata"]:
        yield "holds widget state"
    if book.size > LIMIT_MB * MEGABYTE:
        yield f"{book.size / MEGABYTE:.2f} MB, want at most {LIMIT_MB}"
    for name in sorted({name for cell in book.cells for name in cell["metadata"]} - CELL_METADATA):
        yield f"a cell has the metadata {name}"


def comes_from_one_run(book):
    """Every code cell was run, from top to bottom."""
    counts = [cell["execution_count"] for cell in book.code]
    if counts != list(range(1, len(counts) + 1)):
        yield "execution counts are not 1…n: not from one run"


def has_clean_outputs(book):
    """No output breaks a rule of outputs; what is compared shows something."""
    for number, tags, output in book.outputs():
        for problem, is_wrong in OUTPUT_RULES.items():
            if is_wrong(output, tags):
                yield f"code cell {number} {problem}"
    for number, cell in enumerate(book.code, start=1):
        if CHECKED in course.tags(cell) and not cell["outputs"]:
            yield f"code cell {number} is tagged {CHECKED} but shows nothing"


def has_one_title(book):
    """One H1, and no picture in the prose without alt text."""
    titles = sum(line.startswith("# ") for line in book.lines)
    if titles != 1:
        yield f"{titles} H1 headings, want 1"
    if any(re.search(r"!\[\s*\]\(", line) for line in book.lines):
        yield "a picture in the prose has no alt text"


def _lengths(book) -> list[int]:
    """Return how many lines each code cell has, empty ones aside."""
    return [sum(bool(line.strip()) for line in text.split("\n")) for text in book.sources]


def has_rhythm(book):
    """No endless code cell, and prose between the cells."""
    lengths = _lengths(book)
    if 0 in lengths:
        yield "an empty code cell"
    if max(lengths, default=0) > MOST_LINES:
        yield f"a code cell has {max(lengths)} lines, want at most {MOST_LINES}"
    kinds = "".join("c" if cell["cell_type"] == "code" else "m" for cell in book.cells)
    if "cccc" in kinds:
        yield "more than 3 code cells in a row without prose"


def has_short_cells(book):
    """Half of the code cells of a lesson fit six lines."""
    median = statistics.median(_lengths(book) or [0])
    if median > MEDIAN_LINES:
        yield f"the median code cell has {median:g} lines, want at most {MEDIAN_LINES}"


def has_safe_colours(book):
    """No colour map that some readers cannot tell apart."""
    if unsafe := UNSAFE_MAP.search("\n".join(book.sources)):
        yield f"the colour map {unsafe[1]} does not suit colour-blind readers"


def has_solution_marks(book):
    """What stands between nbgrader's marks is a solution."""
    begin = sum(text.count("### BEGIN SOLUTION") for text in book.sources)
    end = sum(text.count("### END SOLUTION") for text in book.sources)
    if not begin or begin != end:
        yield f"{begin} BEGIN SOLUTION and {end} END SOLUTION marks"


def shows_something(book):
    """A lesson has a picture."""
    if not any("image/png" in output.get("data", {}) for _, _, output in book.outputs()):
        yield "no picture in its outputs"


def is_compared(book):
    """nbval compares some outputs."""
    checked = len(book.tagged(CHECKED))
    if checked < LEAST_CHECKED:
        yield f"{checked} cells tagged {CHECKED}, want {LEAST_CHECKED} or more"


def is_short(book):
    """A lesson that can be read in one sitting."""
    if len(book.cells) > MOST_CELLS:
        yield f"{len(book.cells)} cells, want at most {MOST_CELLS}"


def has_the_parts(book):
    """What you'll do, learn and need; then the headings that every lesson has."""
    opening = book.prose[0] if book.prose else ""
    yield from (f"the first cell does not say {part}" for part in PARTS if part not in opening)
    headings = " ".join(line for line in book.lines if line.startswith("#")).lower()
    yield from (f"no heading for {name}" for name in HEADINGS if name.lower() not in headings)


def has_headings_of_their_own(book):
    """A heading opens its markdown cell: nothing stands above it there, and one cell has one."""
    for text in book.prose:
        plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL).strip()
        if re.search(r"\n#{1,6} ", plain):
            heading = re.search(r"\n(#{1,6} .*)", plain)[1]
            yield f"{heading!r} does not open a markdown cell of its own"


def opens_well(book):
    """The cell that fetches the course is first and folded; then a short set-up cell."""
    if not book.code or book.code[0].get("id") != FIRST or not _folded(book.code[0]):
        yield f"the first code cell is not the folded one with the id {FIRST}"
    if len(book.code) > 1 and len(book.sources[1].split("\n")) > MOST_SETUP_LINES:
        yield f"the set-up cell has more than {MOST_SETUP_LINES} lines"


def has_quick_sizes(book):
    """Sizes in capitals and nothing else; behind them, folded, those of the quick profile."""
    quick = book.tagged(QUICK)
    if len(quick) != 1:
        yield f"{len(quick)} cells tagged {QUICK}, want 1"
        return
    place = book.code.index(quick[0])
    if not _folded(quick[0]) or not book.sources[place].startswith("if course.quick:"):
        yield f"the cell tagged {QUICK} is not folded, or does not start with `if course.quick:`"
    sizes = _assigned(book.sources[place - 1]) if place else [""]
    if not all(name.isupper() for name in sizes):
        yield f"the cell before the one tagged {QUICK} does not assign sizes in capitals only"


def _assigned(source: str) -> list[str]:
    """Return the names that a cell assigns to; "" for anything else that it does."""
    names = []
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        targets = target.elts if isinstance(target, ast.Tuple) else [target]
        names += [part.id if isinstance(part, ast.Name) else "" for part in targets]
    return names


def has_its_exercises(book):
    """As many checks, `course.check("NN.k", answer_k)`, of answers set in the cell above."""
    checks = [course.source_of(cell).strip() for cell in book.tagged(EXERCISE)]
    count = FEWER_EXERCISES.get(book.number, EXERCISES)
    want = [f'course.check("{book.number}.{k}", answer_{k})' for k in range(1, count + 1)]
    if checks != want:
        yield f"the cells tagged {EXERCISE} are not {want[0]} to {want[-1]}"


def closes_well(book):
    """The closing cell is the last of all, and folded."""
    closing = book.tagged(CLOSING)
    if len(closing) != 1 or closing[0] is not book.cells[-1]:
        yield f"the last cell is not the one tagged {CLOSING}"
    elif not _folded(closing[0]) or ".close()" not in course.source_of(closing[0]):
        yield f"the cell tagged {CLOSING} is not folded, or closes nothing"


def hides_the_machine(book):
    """No cell in sight shows bookkeeping, and few assert anything."""
    for number, (cell, source) in enumerate(zip(book.code, book.sources, strict=True), start=1):
        for what, pattern in MACHINERY.items():
            if not _folded(cell) and pattern.search(source):
                yield f"code cell {number} shows {what}"
    for number, _, output in book.outputs():
        if says_only_true(output, ()):
            yield f"code cell {number} shows only True: print the numbers that agree"
    for heading, asserts in _asserts(book).items():
        if asserts > MOST_ASSERTS:
            yield f"{asserts} asserts below {heading!r}, want at most {MOST_ASSERTS}"


def _asserts(book) -> dict[str, int]:
    """Return {heading of a section: how many asserts its cells hold}."""
    found, heading = {}, ""
    for cell in book.cells:
        text = course.source_of(cell)
        if cell["cell_type"] == "markdown" and text.startswith("## "):
            heading = text.split("\n")[0]
        elif cell["cell_type"] == "code":
            asserts = len(re.findall(r"^\s*assert ", text, re.MULTILINE))
            found[heading] = found.get(heading, 0) + asserts
    return found


OUTPUT_RULES = {
    "prints to stderr": prints_to_stderr,
    "ends in an error": ends_in_an_error,
    "shows a machine path": shows_a_path,
    "shows a memory address": shows_an_address,
    "prints a carriage return (a progress bar?)": prints_a_carriage_return,
    "shows a widget": shows_a_widget,
    "holds a bare GIF: show it as HTML <img alt=…>": holds_a_bare_gif,
    "shows a picture without alt text": picture_lacks_alt,
    "shows an HTML image without alt text": html_image_lacks_alt,
    f"holds a GIF of more than {GIF_LIMIT // 1000} kB": holds_a_large_gif,
    f"holds HTML of more than {HTML_LIMIT // 1000} kB": holds_large_html,
}
EVERY_NOTEBOOK = (
    has_the_format,
    comes_from_one_run,
    has_clean_outputs,
    has_one_title,
    has_rhythm,
    has_safe_colours,
)
SOLUTIONS = (*EVERY_NOTEBOOK, has_solution_marks)
LESSON = (
    *EVERY_NOTEBOOK,
    has_short_cells,
    shows_something,
    is_compared,
    is_short,
    has_the_parts,
    has_headings_of_their_own,
    opens_well,
    has_quick_sizes,
    has_its_exercises,
    closes_well,
    hides_the_machine,
)


def problems(nb, *, size: int, solutions: bool = False, number: str = "") -> list[str]:
    """Return what is wrong with a notebook as committed.

    Parameters
    ----------
    nb : NotebookNode
        As stored.
    size : int
        Of the file, in bytes.
    solutions : bool
        Whether it holds solutions: those keep other rules than a lesson.
    number : str
        Of its lesson, such as "03": the checks of exercises name it.
    """
    book = Notebook(nb, size, number)
    rules = SOLUTIONS if solutions else LESSON
    return [problem for rule in rules for problem in rule(book)]


def problems_of(path: Path) -> list[str]:
    """Return the problems of the notebook at path."""
    nb, solutions = course.read(path), path.parent.name == "solutions"
    return problems(nb, size=path.stat().st_size, solutions=solutions, number=path.name[:2])


def long_functions(path: Path) -> list[str]:
    """Return a line for every function of a module that does not fit a screen.

    The docstring does not count.
    """
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        lines = node.end_lineno - node.lineno + 1
        if ast.get_docstring(node):
            lines -= node.body[0].end_lineno - node.body[0].lineno + 1
        if lines > FUNCTION_LINES:
            found.append(f"{node.name} has {lines} lines, want at most {FUNCTION_LINES}")
    return found


def main(arguments: list[str]) -> int:
    """Print every problem of the notebooks or modules named, or of all notebooks."""
    paths = []
    for named in map(Path, arguments):
        paths += sorted(named.rglob("*.py")) if named.is_dir() else [named]
    paths = paths or course.notebook_paths(solutions=True)
    total = 0
    for path in paths:
        found = long_functions(path) if path.suffix == ".py" else problems_of(path)
        total += len(found)
        for problem in found:
            print(f"{path}: {problem}")
    print(f"{len(paths)} files, {total} problems")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
