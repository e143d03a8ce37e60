"""Write the figures of the lessons for slides: build/figures/07_03_….svg and so on.

A lesson runs as readers run it, but its figures come out as SVG beside PNG. A file is named after
the lesson, the place among the lesson's figures and the heading above, and says in itself what
there is to see: the heading is its <title>, the alt text its <desc>. An animation is written as
GIF, with its alt text in a .txt beside it. Files of an earlier run of the same lesson go.

usage: figures.py [NUMBER] [--profile lesson|quick] [--notebooks FOLDER] [--build FOLDER]
"""

import argparse
import base64
import html
import re
import sys
from pathlib import Path

import course
import generate

SWITCH = "%matplotlib inline\n%config InlineBackend.figure_formats = ['png', 'svg']"
LONGEST_SLUG = 40


def slug(heading: str) -> str:
    """Return the first words of a heading as a part of a file's name."""
    words = re.findall(r"[a-z0-9]+", heading.lower())
    while len("_".join(words)) > LONGEST_SLUG and len(words) > 1:
        words.pop()
    return "_".join(words)


def described(svg: str, title: str, alt: str) -> str:
    """Return an SVG that says its title and its description to whoever cannot see it."""
    said = f"<title>{html.escape(title)}</title>\n<desc>{html.escape(alt)}</desc>"
    return re.sub(r"<svg\b[^>]*>", lambda tag: f"{tag[0]}\n{said}", svg, count=1)


def shown(output, heading: str) -> tuple[str, str | bytes, str] | None:
    """Return (kind, content, alt text) of the figure that an output shows; None where it is none.

    Raises
    ------
    ValueError
        A figure has no alt text.
    """
    data = output.get("data", {})
    if animation := generate.GIF.fullmatch("".join(data.get("text/html", ""))):
        return "gif", base64.b64decode(animation[2]), html.unescape(animation[1])
    if "image/svg+xml" not in data:
        return None
    alt = output["metadata"].get("image/png", {}).get("alt", "")
    if not alt:
        raise ValueError(f"a figure below {heading!r} has no alt text: show it by plots.show")
    return "svg", "".join(data["image/svg+xml"]), alt


def figures(nb, number: str) -> dict[str, bytes]:
    """Return the files of a lesson that has run, by name: its figures, and alt texts of GIFs."""
    found, heading, place = {}, "", 0
    for cell in nb["cells"]:
        if opened := course.heading_of(cell):
            heading = re.sub(r"[*_`$]", "", opened[1])
        for output in cell.get("outputs", ()):
            figure = shown(output, heading)
            if figure is None:
                continue
            kind, content, alt = figure
            place += 1
            name = f"{number}_{place:02}_{slug(heading)}"
            if kind == "gif":
                found |= {f"{name}.gif": content, f"{name}.txt": f"{alt}\n".encode()}
            else:
                found[f"{name}.svg"] = described(content, heading, alt).encode()
    return found


def write(found: dict[str, bytes], number: str, folder: Path) -> None:
    """Write the files of a lesson in place of those of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{number}_[0-9][0-9]_*"):
        old.unlink()
    for name, content in found.items():
        (folder / name).write_bytes(content)


def run(path: Path, environment: dict, folder: Path) -> str:
    """Run a lesson and write its figures; return what went wrong, "" if nothing did."""
    nb, number = course.read(path), path.name[:2]
    first = next(cell for cell in nb["cells"] if cell["cell_type"] == "code")
    first["source"] = f"{SWITCH}\n{course.source_of(first)}"
    if error := course.run(nb, path.parent, environment).error:
        return f"failed in {error}"
    try:
        found = figures(nb, number)
    except ValueError as error:
        return str(error)
    write(found, number, folder)
    for name in found:
        print(f"  {name}", flush=True)
    return ""


def main(arguments: list[str]) -> int:
    """Write the figures; return the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("number", nargs="?", default="")
    parser.add_argument("--profile", choices=course.ENVIRONMENTS, default="lesson")
    parser.add_argument("--notebooks", type=Path, default=course.NOTEBOOKS)
    parser.add_argument("--build", type=Path)
    options = parser.parse_args(arguments)
    build = options.build.resolve() if options.build else course.build_dir()
    # Another machine may disagree with the published run, and its figures are still its figures.
    environment = {"VAE_STRICT": "", "VAE_BUILD": str(build)}
    environment = course.ENVIRONMENTS[options.profile] | environment
    paths, failures = course.notebook_paths(options.number, options.notebooks), 0
    for path in paths:
        print(f"{path.name} …", flush=True)
        if problem := run(path, environment, build / "figures"):
            failures += 1
            print(f"  {problem}", flush=True)
    print(f"{len(paths)} notebooks, {failures} failed; see {build / 'figures'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
