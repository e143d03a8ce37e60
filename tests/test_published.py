"""What is published follows from its runs, tells mistakes apart, and is what the text claims."""

import ast
import copy
import re

import pytest
from nbformat import v4

import course
import fake_notebook
import published

PUBLISHED = course.read_published()
LESSONS = {path.name[:2]: path for path in course.notebook_paths()}
CLAIM = re.compile(r"<!--\s*claim:\s*(\S+)\s*-->")


# --- Rules, each a function that returns what breaks it ------------------------------------------


def entries(table):
    """Yield (place, profile, entry) of every lesson and profile."""
    for number, profiles in table.items():
        for profile, entry in profiles.items():
            yield f"{number} {profile}", profile, entry


def stale_numbers(table):
    """Return the numbers that do not follow from the runs that are stored beside them."""
    found = []
    for place, _, entry in entries(table):
        for key, number in entry["numbers"].items():
            if number != published.measured(key, number["data"], number["values"], entry["runs"]):
                found.append(f"{place}: {key}")
    return found


def undecided_costs(table):
    """Return the costs of mistakes whose accepted intervals hold 0."""
    found = []
    for place, _, entry in entries(table):
        for key, number in entry["numbers"].items():
            value, tolerance = number["value"], number["tolerance"]
            intervals = [(number["low"], number["high"]), (value - tolerance, value + tolerance)]
            if re.search(r"/mistake_\w+/cost$", key):
                found += [f"{place}: {key}" for low, high in intervals if low <= 0 <= high]
    return found


def claims_in_text(nb):
    """Return the names behind the sentences of a lesson, with repetitions."""
    cells = [cell for cell in nb["cells"] if cell["cell_type"] == "markdown"]
    return [name for cell in cells for name in CLAIM.findall(course.source_of(cell))]


def claims_in_code(nb):
    """Return the names that the closing cell evaluates, with repetitions."""
    cells = [cell for cell in nb["cells"] if "closing" in course.tags(cell)]
    found = []
    for node in ast.walk(ast.parse("\n".join(course.source_of(cell) for cell in cells))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lesson.claims":
            (conditions,) = node.args
            found += [ast.literal_eval(key) for key in conditions.keys]
    return found


def unpaired_claims(nb):
    """Return the claims that stand in the text or in the closing cell only, or twice."""
    text, code = claims_in_text(nb), claims_in_code(nb)
    once = {name for name in text if text.count(name) == code.count(name) == 1}
    return sorted(set(text + code) - once)


def claims_published(table, number, nb):
    """Say whether the claims of a lesson are those that its published runs evaluated."""
    return all(sorted(claims_in_code(nb)) == entry["claims"] for entry in table[number].values())


# --- The committed file --------------------------------------------------------------------------


def test_what_is_published_follows_from_its_runs():
    assert stale_numbers(PUBLISHED) == []


def test_the_published_seed_comes_first_and_there_are_three():
    for place, _, entry in entries(PUBLISHED):
        seeds = [run["seed"] for run in entry["runs"]]
        assert seeds[0] == published.SEED and len(set(seeds)) >= 3, place
        assert len(seeds) > len(set(seeds)), f"{place}: no second number of threads"


def test_the_price_of_a_mistake_is_not_nothing():
    assert undecided_costs(PUBLISHED) == []


@pytest.mark.parametrize("number", LESSONS)
def test_every_lesson_is_published_in_quick(number):
    assert PUBLISHED.get(number, {}).get("quick", {}).get("numbers"), (
        f"run tools/published.py publish {number} --profile quick"
    )


def test_no_lesson_is_published_that_is_not_there():
    assert PUBLISHED.keys() <= LESSONS.keys()


@pytest.mark.parametrize("number", LESSONS)
def test_text_and_closing_cell_make_the_same_claims(number):
    nb = course.read(LESSONS[number])
    assert unpaired_claims(nb) == []
    assert number not in PUBLISHED or claims_published(PUBLISHED, number, nb)


# --- The rules bite ------------------------------------------------------------------------------

RUNS = [
    {"seed": seed, "threads": threads, "versions": {}, "machine": ""}
    for seed, threads in ((42, 2), (43, 2), (44, 2), (42, 1))
]
COST = "mnist/dynamic/mistake_mean_sum/cost"


def table_of(**values):
    """Return a published lesson 02 with numbers of these values."""
    numbers = {key: published.measured(key, "", runs, RUNS) for key, runs in values.items()}
    return {"02": {"quick": {"claims": [], "runs": RUNS, "numbers": numbers}}}


GOOD = table_of(**{COST: [9.0, 9.5, 8.5, 9.001], "mnist/a/b/elbo": [-90.0, -91.0, -90.5, -90.0]})


def test_a_good_table_breaks_no_rule():
    assert stale_numbers(GOOD) == undecided_costs(GOOD) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("value", -90.1), ("tolerance", 1.0), ("low", -100.0), ("high", 0.0), ("values", None)],
)
def test_an_edited_number_is_stale(field, value):
    table = copy.deepcopy(GOOD)
    number = table["02"]["quick"]["numbers"]["mnist/a/b/elbo"]
    number[field] = [-90.0, -91.0, -90.5, -90.4] if value is None else value
    assert stale_numbers(table) == ["02 quick: mnist/a/b/elbo"]


def test_another_rule_for_tolerances_makes_them_stale(monkeypatch):
    monkeypatch.setattr(published, "SAFETY", published.SAFETY * 100)
    assert f"02 quick: {COST}" in stale_numbers(GOOD)


@pytest.mark.parametrize("values", [[9.0, 1.0, -2.0, 9.0], [1.0, 1.1, 0.9, 0.5]])
def test_a_cost_that_may_be_nothing_is_found(values):
    table = table_of(**{COST: values})
    assert f"02 quick: {COST}" in undecided_costs(table)


TWICE = "A. <!-- claim: first --> <!-- claim: first --> <!-- claim: second -->"
BOTH = "A. <!-- claim: first --> B. <!--claim: second-->"
CLOSING = 'lesson.claims({"first": 1 < 2, "second": 2 < 3})\nlesson.close()'


@pytest.mark.parametrize(
    ("text", "code", "unpaired"),
    [
        (BOTH, CLOSING, []),
        ("A. <!-- claim: first -->", CLOSING, ["second"]),
        (f"{BOTH} C. <!-- claim: third -->", CLOSING, ["third"]),
        (BOTH, "lesson.close()", ["first", "second"]),
        (TWICE, CLOSING, ["first"]),
        (BOTH, f"{CLOSING}\n{CLOSING}", ["first", "second"]),
    ],
)
def test_claims_are_paired(text, code, unpaired):
    nb = fake_notebook.lesson(v4.new_markdown_cell(text), fake_notebook.code(code, "closing"))
    assert unpaired_claims(nb) == unpaired


def test_claims_that_were_not_published_are_found():
    nb = fake_notebook.lesson(fake_notebook.code(CLOSING, "closing"))
    table = copy.deepcopy(GOOD)
    assert not claims_published(table, "02", nb)
    table["02"]["quick"]["claims"] = ["first", "second"]
    assert claims_published(table, "02", nb)
