"""What stands on a page of the site: its sections, where links lead, and what is wrong with it."""

import posixpath
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from bs4 import BeautifulSoup

FETCHED = re.compile(
    r"""<(?:script|link|img|iframe|source)\b[^>]*\s(?:src|href)\s*=\s*["']?(?:https?:)?//[^"'>]*"""
    r"""|(?:\bimport\(?|@import|url\()\s*["']?https?://[^"')]*""",
    re.IGNORECASE,
)
ELSEWHERE = re.compile(r"\w+:|//")
FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$\n]*\\[^$\n]*\$", re.DOTALL)
NO_ALT = ("", "No description has been provided for this image")  # what nbconvert fills in


@dataclass
class Section:
    """A heading of a page and what stands below it, as plain text."""

    level: int
    anchor: str
    text: str
    content: str = ""


def parse(text: str) -> BeautifulSoup:
    """Return HTML as a tree."""
    return BeautifulSoup(text, "html.parser")


def fetched_addresses(text: str) -> list[str]:
    """Return what a browser would fetch to show the page; plain links do not count."""
    return FETCHED.findall(text)


def sections(body) -> list[Section]:
    """Return the sections of a page's cells: prose and code in sight, no formulas, no outputs."""
    found = []
    for part in body.find_all(True, recursive=False):
        if re.fullmatch(r"h[1-6]", part.name) and part.get("id"):
            text = "".join(part.find_all(string=lambda s: s.parent.get("class") != ["anchor-link"]))
            found.append(Section(int(part.name[1]), part["id"], text.replace("$", "").strip()))
        elif found and part.get("class") == ["cell"]:
            found[-1].content += "".join(
                _words(code.get_text()) for code in part.select(":scope > .highlight pre")
            )
        elif found and part.get("class") != ["bar"]:
            found[-1].content += _words(FORMULA.sub("…", part.get_text()).replace("$", ""))
    return found


def _words(text: str) -> str:
    """Return a text with one space after each word."""
    return "".join(f"{word} " for word in text.split())


def lead(body, names: set[str], folder: str, address: str) -> None:
    """Let links to notebooks lead to their pages, in place.

    Parameters
    ----------
    body : BeautifulSoup
    names : set of str
        Stems of the pages, which lie in one folder.
    folder : str
        Where the notebook lies in the course, such as "notebooks/solutions".
    address : str
        Where a link to any other file leads. Without one it keeps its text only: that file does not
        stand beside the pages.
    """
    for link in body.find_all("a", href=True):
        path, mark, anchor = link["href"].partition("#")
        if not path or ELSEWHERE.match(path):
            continue
        if Path(path).stem in names:
            link["href"] = f"{Path(path).stem}.html{mark}{anchor}"
        elif address:
            link["href"] = f"{address}/{posixpath.normpath(f'{folder}/{path}')}{mark}{anchor}"
        else:
            del link["href"]
            link["title"] = "not among these pages"


def problems(paths: list[Path]) -> list[str]:
    """Return a line for everything that is wrong with the pages at these paths, in one folder.

    A link leads to no file or to no place in its page, a picture has no alternative text, an id is
    not alone, a page would fetch something. Addresses outside are not tried.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    pages = {path: parse(text) for path, text in texts.items()}
    ids = {
        path: Counter(tag["id"] for tag in tree.find_all(id=True)) for path, tree in pages.items()
    }
    found = []
    for path, tree in pages.items():
        targets = [
            tag.get("href") or tag.get("src") for tag in tree.find_all(["a", "link", "script"])
        ]
        wrong = [
            f"{target} leads nowhere"
            for target in dict.fromkeys(filter(None, targets))
            if not _leads_somewhere(target, path, ids)
        ]
        wrong += [f"the id {key} stands {n} times" for key, n in ids[path].items() if n > 1]
        bare = [tag for tag in tree.find_all("img") if tag.get("alt", "").strip() in NO_ALT]
        wrong += [f"pictures without alternative text: {len(bare)}"] if bare else []
        wrong += [f"would fetch {target}" for target in fetched_addresses(texts[path])]
        found += [f"{path.name}: {problem}" for problem in wrong]
    return found


def _leads_somewhere(target: str, page: Path, ids: dict) -> bool:
    """Say whether an address on a page is outside, or that of a place in the page's folder."""
    if ELSEWHERE.match(target):
        return True
    name, _, anchor = target.partition("#")
    file = page.parent / unquote(name.split("?")[0]) if name else page
    known = not anchor or file not in ids or bool({anchor, unquote(anchor)} & set(ids[file]))
    return known and file.exists()
