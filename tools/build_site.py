"""Write the course as a static site under build/site/: the committed notebooks with their outputs.

Every page has the same navigation and a search of all headings. The site needs no network: formulas
are set by the MathJax that stands beside the pages, and the explorers bring their own images.

usage: build_site.py [--notebooks FOLDER] [--build FOLDER]
"""

import argparse
import base64
import html
import json
import re
import sys
from pathlib import Path

import nbformat

import course
import pages
import pictures

TITLE = "Variational autoencoders, hands on"
OPENING = f"""# {TITLE}

Numbered lessons that lead from raw pixels to an inverse autoregressive flow, in TensorFlow (Keras
3) and TensorFlow Probability. What you see was executed: every derivation ends in a check, and
every number was measured."""
PICTURE = '<a href="{lesson}"><img alt="{alt}" src="data:image/png;base64,{data}"></a>'
ENTRY = """## {number} {title}

{sentence}

{picture}

[Read the lesson]({lesson}){solutions}"""
HEADING = re.compile(r'<h[1-4] id="([^"]+)">(.*?)<a class="anchor-link"', re.DOTALL)


def prose(*texts: str):
    """Return a notebook of prose alone."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text) for text in texts])


def front_page(lessons: list[Path]):
    """Return the first page: each lesson with its picture."""
    entries = []
    for path in lessons:
        nb = course.read(path)
        title, sentence = course.title_and_sentence(nb)
        picture, alt = pictures.picture_of(nb)
        data = base64.b64encode(picture).decode()
        shown = PICTURE.format(lesson=path.name, alt=html.escape(alt), data=data)
        answers = path.parent / "solutions" / f"{path.name[:2]}_solutions.ipynb"
        entries.append(
            ENTRY.format(
                number=path.name[:2],
                title=title,
                sentence=sentence,
                lesson=path.name,
                picture=shown if picture else "",
                solutions=f" · [solutions]({answers.name})" if answers.exists() else "",
            )
        )
    return prose(OPENING, *entries)


def navigation(names: dict[str, str], current: str) -> str:
    """Return the bar above a page; names are {stem: label} of what it leads to."""
    links = [
        f'<a href="{stem}.html"{" aria-current=page" * (stem == current)}>{html.escape(label)}</a>'
        for stem, label in names.items()
    ]
    text = Path(__file__).with_name("navigation.html").read_text(encoding="utf-8")
    return text.replace("PAGES", "\n".join(links))


def headings(page: str) -> list[tuple[str, str]]:
    """Return (anchor, text) of the headings of a page."""
    return [
        (anchor, html.unescape(re.sub(r"<[^>]+>", "", text)).replace("$", "").strip())
        for anchor, text in HEADING.findall(page)
    ]


def main(arguments: list[str]) -> int:
    """Write the site; return the exit code: 1 where a page would fetch something."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("--notebooks", type=Path, default=course.NOTEBOOKS)
    parser.add_argument("--build", type=Path, default=course.ROOT / "build")
    options = parser.parse_args(arguments)
    lessons = course.notebook_paths(folder=options.notebooks)
    if not lessons:
        sys.exit(f"error: no notebooks in {options.notebooks}")
    site = options.build.resolve() / "site"
    pages.add_mathjax(site)
    notebooks, bar = {"index": front_page(lessons)}, {"index": "Course"}
    bar |= {path.stem: path.name[:2] for path in lessons}
    if (teaching := options.notebooks / "TEACHING.md").exists():
        notebooks["TEACHING"], bar["TEACHING"] = prose(teaching.read_text("utf-8")), "Teaching"
    for path in course.notebook_paths(folder=options.notebooks, solutions=True):
        notebooks[path.stem] = course.read(path)
    index, fetched = [], []
    for stem, nb in notebooks.items():
        title, _ = course.title_and_sentence(nb)
        page = pages.to_html(nb, title or stem, navigation(bar, stem))
        page = pages.linked(page, set(notebooks))
        fetched += pages.fetched_addresses(page)
        index += [(f"{stem}.html#{anchor}", text, title) for anchor, text in headings(page)]
        (site / f"{stem}.html").write_text(page, encoding="utf-8")
    script = f"const HEADINGS = {json.dumps(index, ensure_ascii=False)};\n"
    (site / "headings.js").write_text(script, encoding="utf-8")
    print(f"{len(notebooks)} pages, {len(index)} headings; open {site / 'index.html'}")
    if fetched:
        print("error: the site would fetch", *fetched, sep="\n  ")
    return 1 if fetched else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
