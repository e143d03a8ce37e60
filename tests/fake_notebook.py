"""Tiny notebooks for the tests of the machinery: no TensorFlow, a second to run."""

import nbformat.v4 as v4
from nbformat.v4 import new_markdown_cell as md

import hygiene

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
PICTURE = f"""import base64
from IPython.display import display
png = base64.b64decode("{PNG}")
display({{"image/png": png}}, raw=True, metadata={{"image/png": {{"alt": 'a "<dot>"'}}}})"""

# Stands for the cell that fetches the course, and for what a lesson uses of it.
FETCH = """from types import SimpleNamespace

toy = SimpleNamespace(close=lambda: None)
course = SimpleNamespace(quick=False, check=print, lesson=lambda number: toy)"""
FOLDED = {"source_hidden": True}


def code(source, *tags, outputs=(), count=None, **metadata):
    """Return a code cell."""
    metadata |= {"tags": list(tags)} if tags else {}
    cell = v4.new_code_cell(source, outputs=list(outputs), metadata=metadata)
    cell["execution_count"] = count
    return cell


def lesson(*more, title="Train a toy"):
    """Return a notebook with a picture, a formula and outputs to compare, and the cells given."""
    cells = [
        md(f"# {title}\n\n[next](02_next.ipynb) · 03\n\nIt adds. Then it prints."),
        code(PICTURE),
        md("$$\\log p(x) = \\log \\int p(x \\mid z)\\, p(z)\\, dz$$"),
    ]
    for number in range(5):
        checked = code(f"total = {number} + 1\nprint(total)\ntotal", hygiene.CHECKED)
        cells += [checked, md("Read it.")]
    return _notebook([*cells, md("## Summary\n\n## Exercises\n\n## References"), *more])


def good_lesson(*more, number="01", closing="lesson.close()"):
    """Return a lesson that breaks no rule once it has been executed; `more` precedes its end."""
    first = code(FETCH, jupyter=FOLDED)
    first["id"] = hygiene.FIRST
    cells = [
        md("# Train a toy\n\n**What you'll do.**\n**What you'll learn.**\n**What you need.**"),
        first,
        md("Fetches the course."),
        code(f"import math\n\nlesson = course.lesson('{number}')"),
        md("Sizes."),
        code("EPOCHS = 5\nIMAGES, STEPS = 2_000, 10"),
        code("if course.quick:\n    EPOCHS = 1", hygiene.QUICK, jupyter=FOLDED),
        *(md(f"## {name}") for name in ("Words we use", "Train")),
        code(PICTURE),
    ]
    for part in range(5):
        cells += [md("Predict it."), code(f"assert {part} < 9\nprint({part})", hygiene.CHECKED)]
        cells += [md(f"## Part {part}")]
    cells += [md(f"## {name}") for name in ("Results", "Summary", "Exercises")]
    for k in range(1, 5):
        cells += [md(f"### {k}. Explain"), code(f"answer_{k} = None")]
        cells += [code(f'course.check("{number}.{k}", answer_{k})', hygiene.EXERCISE)]
    last = code(closing, hygiene.CLOSING, jupyter=FOLDED)
    return _notebook([*cells, md("## References"), *more, last])


def _notebook(cells):
    """Return a notebook of these cells, for the usual kernel."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
