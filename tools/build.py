"""Write the course as pages that need no network: formulas, search and explorers included.

`run` executes the lessons in the quick profile on the embedded sample and writes their pages to
build/. A failing lesson does not stop the others; the exit code is 1. `site` shows the committed
notebooks, solutions and the page for teachers, and writes to build/site/.

usage: build.py run [NUMBER] [--notebooks FOLDER] [--build FOLDER]
       build.py site [--notebooks FOLDER] [--build FOLDER]
"""

import argparse
import base64
import html
import json
import re
import shutil
import sys
from datetime import timedelta
from pathlib import Path

import jupyter_server_mathjax
import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter

import course
import generate

TITLE = "Variational autoencoders, hands on"
SITE_OPENING = f"""# {TITLE}

Numbered lessons that lead from raw pixels to an inverse autoregressive flow, in TensorFlow (Keras
3) and TensorFlow Probability. What you see was executed: derivations end in checks, and the outputs
of a lesson come from one run."""
RUN_OPENING = f"""# {TITLE}

Run in the *quick* profile on the embedded sample, which checks that every lesson works: the numbers
and pictures are those of a very short training on small data. The committed notebooks hold the real
ones."""

# nbconvert's page without what it would fetch (require.js, Mermaid), with the alt texts it forgets,
# and with the one font that the bundled MathJax carries: it would ask for others too, for an empty
# one and for the MathML that it hides for screen readers.
TEMPLATE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}<link rel="icon" href="data:,">{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
<script type="text/x-mathjax-config">
var nowhere = {src: "local('none')"};
MathJax.Hub.Config({
  "HTML-CSS": {availableFonts: [], preferredFont: null, imageFont: null, webFont: "STIX-Web",
    styles: {"@font-face": nowhere}},
  NativeMML: {styles: Object.fromEntries(
    [1, 2, 3, 4, 5, 6].map(k => ["@font-face /*" + k + "*/", nowhere]))},
  showMathMenu: false
});
</script>
{{ super() }}
{%- endblock -%}
{%- block body_header -%}
{{ super() }}
{{ resources.navigation }}
{%- endblock -%}
{%- block data_png scoped -%}
{%- set alt = output | get_metadata('alt', 'image/png') or '' -%}
{%- set alt = alt | escape_html_keep_quotes | replace('"', '&quot;') -%}
{{ super() | replace('<img', '<img alt="' ~ alt ~ '"') }}
{%- endblock -%}
"""
MATHJAX = "mathjax/MathJax.js?config=TeX-AMS-MML_HTMLorMML-full,Safe"
FETCHED = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*\s(?:src|href)\s*=\s*["']?(?:https?:)?//[^"'>]*"""
    r"""|(?:\bimport\(?|@import|url\()\s*["']?https?://[^"')]*""",
    re.IGNORECASE,
)
LINK = re.compile(r'''(?<=<a )href="([^":#]+)(#[^"]*)?"''')
HEADING = re.compile(r'<h[1-4] id="([^"]+)">(.*?)<a class="anchor-link"', re.DOTALL)


def fetched_addresses(page: str) -> list[str]:
    """Return what a browser would fetch to show the page; plain links do not count."""
    return FETCHED.findall(page)


def to_html(nb, title: str, navigation: str) -> str:
    """Return the notebook as a page that loads nothing but what lies in the folder beside it."""
    exporter = HTMLExporter(
        template_file="offline.html.j2",
        extra_loaders=[DictLoader({"offline.html.j2": TEMPLATE})],
        mathjax_url=MATHJAX,
        sanitize_html=False,
    )
    resources = {"metadata": {"name": title}, "navigation": navigation}
    return exporter.from_notebook_node(nb, resources)[0]


def linked(page: str, names: set[str]) -> str:
    """Return the page with its links to notebooks leading to their pages.

    `names` are the stems of the pages, which lie in one folder. A link to any other file keeps its
    text only: that file does not stand beside the pages.
    """

    def new(match) -> str:
        stem = Path(match[1]).stem
        if stem not in names:
            return 'title="not among these pages"'
        return f'href="{stem}.html{match[2] or ""}"'

    return LINK.sub(new, page)


def headings(page: str) -> list[tuple[str, str]]:
    """Return (anchor, text) of the headings of a page."""
    return [
        (anchor, html.unescape(re.sub(r"<[^>]+>", "", text)).replace("$", "").strip())
        for anchor, text in HEADING.findall(page)
    ]


class Pages:
    """A folder of pages with one bar of links above each, and one search of all their headings.

    Parameters
    ----------
    folder : Path
        Is made; MathJax is put into it.
    bar : dict of str
        {stem of a page: label}: what the bar leads to.
    others : iterable of str
        Stems of pages that the bar does not name but links may lead to.
    """

    def __init__(self, folder: Path, bar: dict, others=()):
        self.folder, self.bar, self.names = folder, bar, {*bar, *others}
        self.headings = []
        static = Path(jupyter_server_mathjax.__file__).parent / "static"
        shutil.copytree(static, folder / "mathjax", dirs_exist_ok=True)

    def navigation(self, current: str) -> str:
        """Return the bar above one page."""
        links = []
        for stem, label in self.bar.items():
            here = " aria-current=page" if stem == current else ""
            links.append(f'<a href="{stem}.html"{here}>{html.escape(label)}</a>')
        text = Path(__file__).with_name("navigation.html").read_text(encoding="utf-8")
        return text.replace("PAGES", "\n".join(links))

    def add(self, stem: str, nb) -> list[str]:
        """Write a notebook as the page `stem`; return the addresses that it would fetch."""
        title = course.title_and_sentence(nb)[0] or stem
        page = linked(to_html(nb, title, self.navigation(stem)), self.names)
        self.headings += [(f"{stem}.html#{at}", text, title) for at, text in headings(page)]
        (self.folder / f"{stem}.html").write_text(page, encoding="utf-8")
        return fetched_addresses(page)

    def finish(self) -> Path:
        """Write what the search looks through; return the page to open first."""
        script = f"const HEADINGS = {json.dumps(self.headings, ensure_ascii=False)};\n"
        (self.folder / "headings.js").write_text(script, encoding="utf-8")
        return self.folder / "index.html"


def entry(path: Path, nb, remark: str) -> str:
    """Return what the front page says of a lesson: its sentence, its picture and a remark."""
    title, sentence = course.title_and_sentence(nb)
    parts = [f"## {path.name[:2]} {title}", sentence]
    picture, alt = generate.picture_of(nb)
    if picture:
        data = base64.b64encode(picture).decode()
        image = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
        parts.append(f'<a href="{path.name}">{image}</a>')
    return "\n\n".join([*parts, f"[Read the lesson]({path.name}){remark and f' · {remark}'}"])


def prose(*texts: str):
    """Return a notebook of prose alone."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in texts])


def run(paths: list[Path], build: Path) -> int:
    """Execute the lessons and write their pages; return how many failed."""
    pages = Pages(build, {"index": "Course"} | {path.stem: path.name[:2] for path in paths})
    entries, failures, total = [], 0, 0.0
    for path in paths:
        nb = course.read(path)
        print(f"{path.name} …", end=" ", flush=True)
        done = course.run(nb, path.parent, course.QUICK | {"VAE_BUILD": str(build)})
        nbformat.write(nb, build / path.name)
        fetched, error = pages.add(path.stem, nb), done.error
        if fetched and not error:
            error = f"its page, which would fetch {', '.join(fetched)}"
        failures, total = failures + bool(error), total + done.seconds
        memory = f", {done.memory} MB" if done.memory else ""
        print(
            f"{done.seconds:.0f} s{memory}, {f'FAILED in {error}' if error else 'ok'}", flush=True
        )
        status = f"**failed in** {html.escape(error)}" if error else "ok"
        entries.append(entry(path, nb, f"{done.seconds:.0f} s, {status}"))
    count = "1 lesson" if len(paths) == 1 else f"{len(paths)} lessons"
    summary = f"{count}, {failures} failed, {timedelta(seconds=round(total))}"
    pages.add("index", prose(RUN_OPENING, *entries, summary))
    print(f"{summary}; open {pages.finish()}")
    return failures


def site(paths: list[Path], folder: Path) -> int:
    """Write the committed notebooks as a static site; return how many pages would fetch a thing."""
    notebooks = course.notebook_paths(folder=paths[0].parent, solutions=True)
    bar = {"index": "Course"} | {path.stem: path.name[:2] for path in paths}
    teaching = paths[0].with_name("TEACHING.md")
    if teaching.exists():
        bar["TEACHING"] = "Teaching"
    pages = Pages(folder, bar, others=[path.stem for path in notebooks])
    entries, fetched = [], {}
    for path in notebooks:
        nb = course.read(path)
        fetched[path.name] = pages.add(path.stem, nb)
        if path in paths:
            answers = f"{path.name[:2]}_solutions"
            link = f"[solutions]({answers}.ipynb)" if answers in pages.names else ""
            entries.append(entry(path, nb, link))
    if teaching.exists():
        fetched["TEACHING.md"] = pages.add("TEACHING", prose(teaching.read_text("utf-8")))
    fetched["index"] = pages.add("index", prose(SITE_OPENING, *entries))
    print(f"{len(fetched)} pages, {len(pages.headings)} headings; open {pages.finish()}")
    for name, addresses in fetched.items():
        if addresses:
            print(f"error: {name} would fetch {', '.join(addresses)}")
    return sum(map(bool, fetched.values()))


def main(arguments: list[str]) -> int:
    """Write the pages; return the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("what", choices=("run", "site"))
    parser.add_argument("number", nargs="?", default="")
    parser.add_argument("--notebooks", type=Path, default=course.NOTEBOOKS)
    parser.add_argument("--build", type=Path, default=course.ROOT / "build")
    options = parser.parse_args(arguments)
    paths, build = course.notebook_paths(options.number, options.notebooks), options.build.resolve()
    if not paths:
        sys.exit(f"error: no notebooks in {options.notebooks}")
    failures = run(paths, build) if options.what == "run" else site(paths, build / "site")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
