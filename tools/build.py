"""Write the course as pages that need no network: formulas, search and explorers included.

`run` executes the lessons in the quick profile on the embedded sample and writes their pages to
build/, or where VAE_BUILD says. A failing lesson does not stop the others; the exit code is 1.
`site` shows the committed notebooks, solutions and the pages for teachers, and writes to site/ in
the same folder.

usage: build.py run [NUMBER] [--notebooks FOLDER] [--build FOLDER]
       build.py site [--notebooks FOLDER] [--build FOLDER]
"""

import argparse
import base64
import json
import shutil
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import jupyter_server_mathjax
import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from nbconvert import HTMLExporter

import course
import generate
import page

TITLE = "Variational autoencoders, hands on"
SITE_OPENING = """Notebooks that lead from raw pixels to flows in the posterior and in the prior, in
TensorFlow (Keras 3) and TensorFlow Probability. Each idea is derived, built in plain code, checked,
and then trained on two CPU cores. What you see on these pages was executed: the outputs of a lesson
come from one run."""
RUN_OPENING = """Run in the quick profile on the embedded sample, which checks that every lesson
works: the numbers and pictures are those of a very short training on small data. The committed
notebooks hold the real ones."""
GUIDES = ("TEACHING", "MARKING")  # the pages for teachers, Markdown beside the lessons
DESIGN = Path(__file__).with_name("design")
MATHJAX = "mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full,Safe"
FOLDED = {"quick-sizes": "Smaller sizes, for tests", "closing": "Compare with the published run"}
LAYOUT = Environment(loader=FileSystemLoader(DESIGN), autoescape=True, undefined=StrictUndefined)


def summary(cell) -> str:
    """Return what stands in place of a folded cell."""
    first = cell.source.split("\n")[0]
    if first.startswith("# @title "):
        return first.removeprefix("# @title ")
    return next((FOLDED[tag] for tag in course.tags(cell) if tag in FOLDED), "Show the code")


def cells_of(nb):
    """Return the cells of a notebook as a tree of HTML, wide tables in boxes that scroll."""
    exporter = HTMLExporter(
        template_file="cells.html.j2",
        extra_loaders=[FileSystemLoader(DESIGN)],
        filters={"summary": summary},
        anchor_link_text="#",
        sanitize_html=False,
    )
    body = page.parse(exporter.from_notebook_node(nb)[0])
    for table in body.find_all("table"):
        table.wrap(body.new_tag("div", attrs={"class": "scroll"}))
    for heading in body.find_all("th"):
        if not heading.get_text(strip=True):
            heading.name = "td"  # an empty corner heads nothing
    for link in body.select("a.anchor-link"):
        link["aria-label"] = "Link to this section"
    first = body.select_one("h1 + p")
    if first and " · " in first.get_text():
        first["class"] = ["bar"]
    return body


@dataclass
class Lesson:
    """What the pages say of a lesson; `remark` is how a run of it went."""

    path: Path
    nb: dict
    remark: str = ""

    def __post_init__(self):
        self.stem, self.number = self.path.stem, self.path.name[:2]
        self.answers = f"{self.number}_solutions"
        self.title, self.sentence = course.title_and_sentence(self.nb)


class Pages:
    """A folder of pages with one list of contents beside each, and one search of all their text.

    Parameters
    ----------
    folder : Path
        Is made; MathJax and the design are put into it.
    lessons : list of Lesson
        What the list of contents leads to.
    others : dict of str
        {stem: title} of pages that it names after them.
    unlisted : iterable of str
        Stems of pages that it does not name but links may lead to.
    """

    def __init__(self, folder: Path, lessons: list[Lesson], others: dict, unlisted=()):
        self.folder, self.lessons = folder, lessons
        self.index, self.written = [], []
        self.contents = {"index": ("", "Overview")}
        self.contents |= {lesson.stem: (lesson.number, lesson.title) for lesson in lessons}
        self.contents |= {stem: ("", title) for stem, title in others.items()}
        self.names = {*self.contents, *unlisted}
        address = generate.address_of(course.ROOT)
        self.address = address and f"{generate.GITHUB}/{address}/blob/{generate.RELEASE}"
        static = Path(jupyter_server_mathjax.__file__).parent / "static"
        shutil.copytree(static, folder / "mathjax", dirs_exist_ok=True)
        (folder / "design").mkdir(exist_ok=True)
        for name in ("site.css", "site.js", "icon.svg"):
            shutil.copy(DESIGN / name, folder / "design")

    def around(self, stem: str) -> list[tuple[str, str, str]]:
        """Return (stem, role, title) of the pages before and after one, and of its solutions."""
        for place, lesson in enumerate(self.lessons):
            if stem == lesson.answers:
                return [(lesson.stem, "lesson", lesson.title)]
            if stem == lesson.stem:
                before, after = self.lessons[:place][-1:], self.lessons[place + 1 :][:1]
                answers = [lesson.answers] if lesson.answers in self.names else []
                return [
                    *((other.stem, "previous", other.title) for other in before),
                    *((other, "solutions", "of the exercises") for other in answers),
                    *((other.stem, "next", other.title) for other in after),
                ]
        return []

    def add(self, stem: str, nb, folder: str = "notebooks") -> None:
        """Write a notebook, which lies in that folder of the course, as the page `stem`."""
        title, sentence = course.title_and_sentence(nb)
        body = cells_of(nb)
        page.lead(body, self.names, folder, self.address)
        sections = page.sections(body)
        title = title or stem
        self.index += [
            (f"{stem}.html#{part.anchor}", title, part.text, part.content) for part in sections
        ]
        self.write(
            "page.html.j2",
            stem,
            title=title,
            sentence=sentence,
            headings=[part for part in sections if part.level in (2, 3)],
            formulas=True,
            body=str(body),
            around=self.around(stem),
        )

    def add_front(self, opening: str, explorer: dict | None = None, summary: str = "") -> None:
        """Write the front page: the opening, an explorer to try, a card for each lesson."""
        self.write(
            "index.html.j2",
            "index",
            title=TITLE,
            sentence=" ".join(opening.split()),
            headings=[],
            formulas=False,
            body=str(cells_of(prose(opening))),
            explorer=explorer,
            cards=[self.card(lesson) for lesson in self.lessons],
            summary=summary,
        )

    def card(self, lesson: Lesson) -> dict:
        """Return what the front page shows of a lesson."""
        picture, alt = generate.picture_of(lesson.nb)
        solutions = lesson.answers if lesson.answers in self.names else ""
        picture = base64.b64encode(picture).decode()
        return vars(lesson) | {"picture": picture, "alt": alt, "solutions": solutions}

    def write(self, template: str, stem: str, **parts) -> None:
        """Write one page."""
        text = LAYOUT.get_template(template).render(
            course=TITLE, contents=self.contents, stem=stem, mathjax=MATHJAX, **parts
        )
        path = self.folder / f"{stem}.html"
        path.write_text(text, encoding="utf-8")
        self.written.append(path)

    def finish(self) -> int:
        """Write what the search looks through; print and count what is wrong with the pages."""
        script = f"const SECTIONS = {json.dumps(self.index, ensure_ascii=False)};\n"
        (self.folder / "search.js").write_text(script, encoding="utf-8")
        found = page.problems(self.written)
        for problem in found:
            print(f"error: {problem}")
        return len(found)


def prose(text: str):
    """Return a notebook of prose alone."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])


def explorer_of(lessons: list[Lesson]) -> dict | None:
    """Return the first explorer that stands among the outputs of the lessons."""
    for lesson in lessons:
        for cell in lesson.nb["cells"]:
            for output in cell.get("outputs", ()):
                html = "".join(output.get("data", {}).get("text/html", ""))
                if html.startswith('<div class="explorer-'):
                    return {"stem": lesson.stem, "number": lesson.number, "html": html}
    return None


def run(paths: list[Path], build: Path) -> int:
    """Execute the lessons and write their pages; return how many failed, or are wrong."""
    lessons = [Lesson(path, course.read(path)) for path in paths]
    pages = Pages(build, lessons, others={})
    failures, total = 0, 0.0
    for lesson in lessons:
        print(f"{lesson.path.name} …", end=" ", flush=True)
        done = course.run(lesson.nb, lesson.path.parent, course.QUICK | {"VAE_BUILD": str(build)})
        nbformat.write(lesson.nb, build / lesson.path.name)
        pages.add(lesson.stem, lesson.nb)
        failures, total = failures + bool(done.error), total + done.seconds
        memory = f", {done.memory} MB" if done.memory else ""
        status = f"FAILED in {done.error}" if done.error else "ok"
        print(f"{done.seconds:.0f} s{memory}, {status}", flush=True)
        lesson.remark = f"{done.seconds:.0f} s, {status}"
    count = "1 lesson" if len(paths) == 1 else f"{len(paths)} lessons"
    said = f"{count}, {failures} failed, {timedelta(seconds=round(total))}"
    pages.add_front(RUN_OPENING, summary=said)
    print(f"{said}; open {build / 'index.html'}")
    return failures + pages.finish()


def site(paths: list[Path], folder: Path) -> int:
    """Write the committed notebooks as a static site; return how much is wrong with it."""
    notebooks = course.notebook_paths(folder=paths[0].parent, solutions=True)
    lessons = [Lesson(path, course.read(path)) for path in paths]
    files = [path for name in GUIDES if (path := paths[0].with_name(f"{name}.md")).exists()]
    guides = {path.stem: prose(path.read_text("utf-8")) for path in files}
    others = {stem: course.title_and_sentence(guide)[0] for stem, guide in guides.items()}
    pages = Pages(folder, lessons, others, unlisted=[path.stem for path in notebooks])
    for path in notebooks:
        inside = "notebooks" if path in paths else "notebooks/solutions"
        pages.add(path.stem, course.read(path), inside)
    for stem, guide in guides.items():
        pages.add(stem, guide)
    pages.add_front(SITE_OPENING, explorer_of(lessons))
    print(f"{len(pages.names)} pages, {len(pages.index)} sections; open {folder / 'index.html'}")
    return pages.finish()


def main(arguments: list[str]) -> int:
    """Write the pages; return the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("what", choices=("run", "site"))
    parser.add_argument("number", nargs="?", default="")
    parser.add_argument("--notebooks", type=Path, default=course.NOTEBOOKS)
    parser.add_argument("--build", type=Path, default=course.build_dir())
    options = parser.parse_args(arguments)
    paths, build = course.notebook_paths(options.number, options.notebooks), options.build.resolve()
    if not paths:
        sys.exit(f"error: no notebooks in {options.notebooks}")
    failures = run(paths, build) if options.what == "run" else site(paths, build / "site")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
