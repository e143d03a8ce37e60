"""The pages for teachers agree with the lessons, their exercises and the hints of the checks."""

import contextlib
import importlib
import io
import re
from collections import Counter

import nbformat
import pytest
from nbformat import v4

import course
import fake_notebook
import teaching
from helpers.course import exercises

TEXT = (course.ROOT / teaching.PAGE).read_text(encoding="utf-8")
MARKING = (course.NOTEBOOKS / "MARKING.md").read_text(encoding="utf-8")
LESSONS = teaching.lessons_of(course.NOTEBOOKS)
PARTS = ("**Asks**", "**Full marks:**", "**In part:**", "**The check knows", "**By luck?**")


# --- TEACHING.md ---------------------------------------------------------------------------------

# "02 from *Loss* through *Score*", "06, *Scores, and how to judge them* and *Compare …*"
NAMED = re.compile(r"\b(\d\d)((?:,?(?: from| through| and| or)? \*[^*]+\*)+)")


def unknown_headings(text):
    """Return (lesson, heading) of each heading that is named and that there is not."""
    named = [
        (number, heading)
        for number, headings in NAMED.findall(" ".join(text.split()))
        for heading in re.findall(r"\*([^*]+)\*", headings)
    ]
    assert len(named) > 60, "the pattern misses what is named"
    titles = {n: {section.title for section in known.sections} for n, known in LESSONS.items()}
    return [(n, heading) for n, heading in named if heading not in titles.get(n, ())]


def test_every_heading_that_is_named_is_in_its_lesson():
    assert unknown_headings(TEXT) == []
    assert unknown_headings(f"{TEXT} (02, *Score* and *Score it*)") == [("02", "Score it")]


def unknown_exercises(text):
    """Return the exercises that are named and that there are not."""
    known = {name for lesson in LESSONS.values() for name in lesson.exercises}
    named = re.findall(r"(?<![\d.,−])(\d\d\.\d)(?!\d)(?! nats)", text)
    assert len(named) > 20, "the pattern misses what is named"
    return [name for name in named if name not in known]


def test_every_exercise_that_is_named_is_in_its_lesson():
    assert unknown_exercises(TEXT) == []
    assert unknown_exercises(f"{TEXT} 02.5.") == ["02.5"]


def test_every_lesson_has_its_rows():
    rows = Counter(re.findall(r"^\| (\d\d) \|", TEXT, flags=re.MULTILINE))
    assert rows == {number: 3 for number in LESSONS}, (
        "what to know, how long it runs, what it holds"
    )


def test_tables_are_up_to_date_and_sessions_fit_three_hours():
    assert teaching.main(["--check"]) == 0
    sessions = teaching.sessions_in(TEXT, LESSONS)
    assert len(sessions) >= 5
    for session in sessions:
        assert 60 < session.minutes() <= 180, session.title


# --- How it is counted ---------------------------------------------------------------------------


@pytest.fixture
def house(tmp_path):
    """A course of one lesson, and its page for teachers."""
    png = v4.new_output("display_data", {"image/png": fake_notebook.PNG})
    folded = {"jupyter": {"source_hidden": True}}
    cells = [
        v4.new_markdown_cell(
            "# Train a toy\n\nOne [two](01_toy.ipynb#Train) <!-- claim: no_word -->"
        ),
        fake_notebook.code("import os\n\nprint(os)", "x", **folded),
        v4.new_markdown_cell("## Train\n\n" + "word " * 198),
        fake_notebook.code("a = 1\n\nb = 2", outputs=[png]),
        fake_notebook.code("c = 3", outputs=[png], **folded),
        v4.new_markdown_cell("### Score\n\n$x = 1$"),
        v4.new_markdown_cell("## Results\n\n" + "word " * 999),
        v4.new_markdown_cell("## Exercises"),
        v4.new_markdown_cell("### 1. Predict, then run (S): a sum"),
        v4.new_markdown_cell("### 2. Small project (M): a product"),
        v4.new_markdown_cell("## References\n\n" + "word " * 999),
    ]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "notebooks" / "01_toy.ipynb")
    return tmp_path


def page(part="01 through *Train*", exercises="01.1, 01.2", time="61 s"):
    """Return the text of a page with one session."""
    return (
        f"| 01 | {time} | 2.2 GB | 14 s |\n\n<!-- lessons:begin -->\n<!-- lessons:end -->\n\n"
        "### Session 1: toys\n\n"
        f"* **In class:** {part}.\n* **Exercises:** {exercises}.\n* **At home:** rest.\n\n"
        "<!-- sessions:begin -->\n<!-- sessions:end -->\n"
    )


def written(house, text):
    """Write a page, let its tables be written, and return it."""
    (house / teaching.PAGE).write_text(text, encoding="utf-8")
    assert teaching.main(["--check"], house) == 1
    assert teaching.main([], house) == 0
    assert teaching.main(["--check"], house) == 0
    return (house / teaching.PAGE).read_text(encoding="utf-8")


def test_cells_words_lines_and_figures_are_counted(house):
    text = written(house, page())
    # Title 3 words and 2, Train 1 and 198, Score 1 and 2; 3.27 minutes to read and 2 to look.
    assert "| 1 | 4 | 207 | 2 | 2 | 5 | 35 | 2 | 15 | 57 |" in text
    assert "| 01 | 5 | 1,207 | 2 | 2 | 15 | 10 + 25 |" in text


def test_an_edit_of_the_lesson_or_of_the_table_is_found(house):
    text = written(house, page())
    (house / teaching.PAGE).write_text(text.replace("| 57 |", "| 56 |"), encoding="utf-8")
    assert teaching.main(["--check"], house) == 1
    (house / teaching.PAGE).write_text(text, encoding="utf-8")
    nb = course.read(house / "notebooks" / "01_toy.ipynb")
    nb.cells[2].source += " one more"
    nbformat.write(nb, house / "notebooks" / "01_toy.ipynb")
    assert teaching.main(["--check"], house) == 1


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("01", 1_207),
        ("01 through *Train*", 207),
        ("01 from *Train*", 1_202),
        ("01 from *Score* through *Results*", 1_003),
        ("01 *Train*", 202),
        ("01 *Score*; 01 *Results*", 1_003),
    ],
)
def test_a_part_is_named_by_headings(house, part, words):
    lessons = teaching.lessons_of(house / "notebooks")
    (session,) = teaching.sessions_in(page(part), lessons)
    assert session.size["words"] == words


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"part": "01 through *Nowhere*"}, r"0 headings are \*Nowhere\*"),
        ({"part": "02"}, "nothing is known of '02'"),
        ({"part": "all of 01"}, "'all of 01' is not of the form"),
        ({"exercises": "01.3"}, "nothing is known of '01.3'"),
        ({"time": "–"}, "nothing is known of '01'"),
        ({"time": "9000 s"}, "205 minutes, at most 180 will do"),
    ],
)
def test_what_is_wrong_with_a_session_is_said(house, arguments, sentence):
    (house / teaching.PAGE).write_text(page(**arguments), encoding="utf-8")
    with pytest.raises(SystemExit, match=f"TEACHING.md: Session 1: toys: {sentence}"):
        teaching.main([], house)


@pytest.mark.parametrize(
    ("title", "minutes"),
    [
        ("Predict, then run (S): a sum", 10),
        ("Predict, then run (M): a sum", 25),
        ("Small project (L): a sum", 75),
        ("Small project (S): a sum (L)", 10),
    ],
)
def test_an_exercise_takes_as_long_as_its_size_says(title, minutes):
    assert teaching.minutes_of(title) == minutes


@pytest.mark.parametrize("exercises", ["01.1", "01.2"])
@pytest.mark.parametrize("title", ["Small project: a product", "Small project (XL): a product"])
def test_an_exercise_without_a_size_is_an_error(house, exercises, title):
    nb = course.read(house / "notebooks" / "01_toy.ipynb")
    nb.cells[9].source = f"### 2. {title}"
    nbformat.write(nb, house / "notebooks" / "01_toy.ipynb")
    (house / teaching.PAGE).write_text(page(exercises=exercises), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        teaching.main([], house)
    sentence = f"the exercise {title!r} has no size: write (S), (M) or (L) into it"
    assert str(stopped.value).startswith("error: TEACHING.md: ")
    assert str(stopped.value).endswith(sentence)


def test_the_exercises_of_the_template_have_sizes():
    template = course.read(course.ROOT / "tools" / "template.ipynb")
    titles = teaching.lesson_of(template, "99").exercises.values()
    assert [teaching.minutes_of(title) for title in titles] == [10, 10, 25, 75]


# --- MARKING.md ----------------------------------------------------------------------------------


def marked():
    """Return what the guide says of each exercise, {"02.1": (title, text)}."""
    parts = re.split(r"^### (\d\d\.\d+) (.+)\n", MARKING, flags=re.MULTILINE)[1:]
    texts = (re.split(r"^## ", text, flags=re.MULTILINE)[0] for text in parts[2::3])
    return {number: told for number, *told in zip(parts[::3], parts[1::3], texts, strict=True)}


@pytest.mark.parametrize("number", list(LESSONS))
def test_every_exercise_has_its_place_in_the_guide(number):
    told = {name: title for name, (title, _) in marked().items() if name.startswith(number)}
    assert list(told.items()) == list(LESSONS[number].exercises.items())


@pytest.mark.parametrize("exercise", list(marked()))
def test_every_place_says_all_that_a_marker_needs(exercise):
    places = [marked()[exercise][1].find(part) for part in PARTS]
    assert -1 not in places and places == sorted(places)


def hints_of(exercise):
    """Return the hints with which the check answers the wrong answers that we keep of it."""
    number, found = exercise[:2], []
    check = importlib.import_module(f"helpers.course.exercises.lesson_{number}").CHECKS[exercise]
    answers = importlib.import_module(f"exercise_answers.lesson_{number}").ANSWERS[exercise]
    for answer in answers.wrong:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                check(answer)
        except exercises.NotYet as hint:
            found.append(str(hint))
    return found


@pytest.mark.parametrize("exercise", list(marked()))
def test_a_hint_that_is_quoted_is_given(exercise):
    text = " ".join(marked()[exercise][1].split())
    quoted = re.findall(r"“(.+?)”", text)
    hints = hints_of(exercise)
    assert quoted
    assert [words for words in quoted if not any(words in hint for hint in hints)] == []
