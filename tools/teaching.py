"""Count what the sessions of notebooks/TEACHING.md hold, and reckon how long they take.

The plan is written on that page, in words that this script reads. A session is a heading
"### Session 2: …". Its line "* **In class:**" names lessons and headings, as in "02 from *Loss*
through *Score*; 06", and its line "* **Exercises:**" names exercises, as in "02.1, 02.3". With a
heading comes what stands below it. A whole lesson goes up to its exercises. How long a lesson runs
is read from the table of the page. The tables stand between <!-- lessons:begin --> and
<!-- sessions:begin --> and their ends.

usage: teaching.py [--check]      --check changes nothing; exit 1 where a table is stale
"""

import argparse
import math
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import course
import generate

PAGE = Path("notebooks", "TEACHING.md")
WORDS, LINES = 100, 10  # read in a minute, with what is said about them; a figure takes one, too
EXERCISES = {"S": 10, "M": 25, "L": 75}  # minutes for each size
BREAK, LIMIT = 15, 180  # minutes of a session

RULE = (
    f"\nReading is reckoned with {WORDS} words or {LINES} lines of code a minute and a minute for "
    f"each figure,\nan exercise of size S, M or L with {EXERCISES['S']}, {EXERCISES['M']} or "
    f"{EXERCISES['L']} minutes, and running with the whole of every lesson named.\n"
)
LESSONS = (
    "| lesson | cells | words | lines of code | figures | minutes to read | for the exercises |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | --- |\n"
)
SESSIONS = (
    "| session | cells | words | lines of code | figures | reading | exercises | running | break "
    "| minutes |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
)


# --- Lessons -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """What stands under a heading, down to the next one of any rank."""

    rank: int
    title: str
    size: Counter  # cells, words, lines and figures


@dataclass(frozen=True)
class Lesson:
    """A lesson up to its exercises, and these by number: {"02.1": "Predict, then run (S): …"}."""

    sections: list[Section]
    exercises: dict[str, str]


def words_in(text: str) -> int:
    """Return the number of words of a markdown cell, without comments and addresses of links."""
    text = re.sub(r"<!--.*?-->|(?<=\])\([^)\s]*\)", " ", text, flags=re.DOTALL)
    return sum(any(letter.isalnum() for letter in word) for word in text.split())


def size_of(cell) -> Counter:
    """Return what a reader sees of a cell: of a folded one no more than its figures."""
    text = course.source_of(cell)
    if cell["cell_type"] == "markdown":
        return Counter(cells=1, words=words_in(text))
    shown = [output.get("data", {}) for output in cell["outputs"]]
    figures = Counter(figures=sum("image/png" in data or "text/html" in data for data in shown))
    if cell["metadata"].get("jupyter", {}).get("source_hidden"):
        return figures
    return figures + Counter(cells=1, lines=sum(bool(line.strip()) for line in text.split("\n")))


def lesson_of(nb, number: str) -> Lesson:
    """Return a lesson as it is counted."""
    found = [Section(0, "", Counter())]
    for cell in nb["cells"]:
        if opened := course.heading_of(cell):
            found.append(Section(*opened, Counter()))
        found[-1].size.update(size_of(cell))
    titles = [section.title for section in found]
    end = titles.index("Exercises") if "Exercises" in titles else len(found)
    numbered = [re.match(r"(\d+)\. +(.+)", title) for title in titles[end:]]
    exercises = {f"{number}.{match[1]}": match[2] for match in numbered if match}
    return Lesson(found[:end], exercises)


def lessons_of(folder: Path) -> dict[str, Lesson]:
    """Return the lessons of a folder by number."""
    paths = course.notebook_paths(folder=folder)
    return {path.name[:2]: lesson_of(course.read(path), path.name[:2]) for path in paths}


def taken(found: list[Section], first: str | None, last: str | None) -> list[Section]:
    """Return the sections from one heading through another, with all that is below the latter.

    Without the first they begin at the top, without the last they go to the end.

    Raises
    ------
    ValueError
        There is no such heading, or there are two.
    """
    titles = [section.title for section in found]
    for title in filter(None, (first, last)):
        if titles.count(title) != 1:
            raise ValueError(f"{titles.count(title)} headings are *{title}*, want one")
    start, end = titles.index(first) if first else 0, len(found)
    if last:
        place = titles.index(last)
        below = [i for i in range(place + 1, end) if found[i].rank <= found[place].rank]
        end = below[0] if below else end
    return found[start:end]


def total(sections: list[Section]) -> Counter:
    """Return the size of several sections."""
    return sum((section.size for section in sections), Counter())


def minutes_to_read(size: Counter) -> int:
    """Return the minutes that it takes to read cells together, and to look at their figures."""
    return math.ceil(size["words"] / WORDS + size["lines"] / LINES + size["figures"])


def minutes_of(exercise: str) -> int:
    """Return the minutes of an exercise by the size in its title.

    Raises
    ------
    ValueError
        There is none.
    """
    size = re.search(r"\(([SML])\)", exercise)
    if not size:
        raise ValueError(f"the exercise {exercise!r} has no size: write (S), (M) or (L) into it")
    return EXERCISES[size[1]]


# --- Sessions ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """A session of the plan: what it holds, and the minutes of its exercises and of its runs."""

    title: str
    size: Counter
    exercises: int
    running: int

    def minutes(self) -> int:
        """Return how long it takes in all."""
        return minutes_to_read(self.size) + self.exercises + self.running + BREAK


PART = re.compile(r"(\d\d)(?: from \*(.+?)\*)?(?: through \*(.+?)\*)?|(\d\d) \*(.+?)\*")


def line_of(body: str, name: str) -> str:
    """Return what a session says behind "* **name:**", on one line and without its stop."""
    found = re.search(rf"^\* \*\*{name}:\*\* (.+?)(?=\n\*|\n\n|\Z)", body, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"it has no line that begins with * **{name}:**")
    return " ".join(found[1].split()).rstrip(".")


def session_of(title: str, body: str, lessons: dict[str, Lesson], seconds: dict) -> Session:
    """Return a session from its heading and the lines below it."""
    size, numbers = Counter(), set()
    for part in line_of(body, "In class").split("; "):
        match = PART.fullmatch(part)
        if not match:
            raise ValueError(f"{part!r} is not of the form '02 from *Loss* through *Score*'")
        number, first, last = match[1] or match[4], match[2] or match[5], match[3] or match[5]
        size += total(taken(lessons[number].sections, first, last))
        numbers.add(number)
    known = {name: text for lesson in lessons.values() for name, text in lesson.exercises.items()}
    chosen = re.findall(r"\d\d\.\d+", line_of(body, "Exercises"))
    exercises = sum(minutes_of(known[name]) for name in chosen)
    return Session(title, size, exercises, math.ceil(sum(seconds[n] for n in numbers) / 60))


def sessions_in(text: str, lessons: dict[str, Lesson]) -> list[Session]:
    """Return the sessions of the plan in the page's text.

    Raises
    ------
    ValueError
        A session names a lesson, a heading or an exercise that there is not, or a lesson that has
        no time; or it is too long.
    """
    times = re.findall(r"^\| (\d\d) \| (\d+) s \|", text, re.MULTILINE)
    seconds = {number: int(time) for number, time in times}
    parts = re.split(r"^### (Session .+)\n", text, flags=re.MULTILINE)[1:]
    found = []
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        try:
            session = session_of(title, body, lessons, seconds)
        except KeyError as error:
            raise ValueError(f"{title}: nothing is known of {error}") from None
        except ValueError as error:
            raise ValueError(f"{title}: {error}") from None
        if session.minutes() > LIMIT:
            raise ValueError(f"{title}: {session.minutes()} minutes, at most {LIMIT} will do")
        found.append(session)
    return found


# --- Tables --------------------------------------------------------------------------------------


def counts(size: Counter) -> list[str]:
    """Return cells, words, lines and figures for a table."""
    return [generate.count(size[name]) for name in ("cells", "words", "lines", "figures")]


def lesson_table(lessons: dict[str, Lesson]) -> str:
    """Return the table of what each lesson holds."""
    rows = []
    for number, lesson in lessons.items():
        size = total(lesson.sections)
        exercises = " + ".join(str(minutes_of(title)) for title in lesson.exercises.values())
        rows.append(generate.row(number, *counts(size), minutes_to_read(size), exercises))
    return LESSONS + "".join(rows)


def session_table(sessions: list[Session]) -> str:
    """Return the table of how long each session takes."""
    rows = []
    for session in sessions:
        name = session.title.split()[1].rstrip(":")
        minutes = (minutes_to_read(session.size), session.exercises, session.running, BREAK)
        rows.append(generate.row(name, *counts(session.size), *minutes, session.minutes()))
    return SESSIONS + "".join(rows) + RULE


def refreshed(text: str, lessons: dict[str, Lesson]) -> str:
    """Return the page's text as it should be."""
    text = generate.with_block(text, "lessons", lesson_table(lessons), PAGE.name)
    sessions = session_table(sessions_in(text, lessons))
    return generate.with_block(text, "sessions", sessions, PAGE.name)


def main(arguments: list[str], root: Path = course.ROOT) -> int:
    """Write or check the tables; return the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    page = root / PAGE
    text = page.read_text(encoding="utf-8")
    try:
        wanted = refreshed(text, lessons_of(page.parent))
    except ValueError as error:
        sys.exit(f"error: {PAGE.name}: {error}")
    if text == wanted:
        return 0
    if not options.check:
        page.write_text(wanted, encoding="utf-8")
    print(f"{PAGE} {'is stale: run make generate' if options.check else 'written'}")
    return int(options.check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
