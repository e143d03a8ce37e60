"""Tiny notebooks for the tests of the machinery: no TensorFlow, a second to run."""

import nbformat.v4 as v4

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
PICTURE = f"""import base64
from IPython.display import display
png = base64.b64decode("{PNG}")
display({{"image/png": png}}, raw=True, metadata={{"image/png": {{"alt": 'a "<dot>"'}}}})"""


def code(source, *tags, outputs=(), count=None, **metadata):
    """Return a code cell."""
    metadata |= {"tags": list(tags)} if tags else {}
    cell = v4.new_code_cell(source, outputs=list(outputs), metadata=metadata)
    cell["execution_count"] = count
    return cell


def lesson(*more, title="Train a toy"):
    """Return a small lesson that keeps the rules of every notebook, with the cells given."""
    cells = [
        v4.new_markdown_cell(f"# {title}\n\n[next](02_next.ipynb) · 03\n\nIt adds."),
        code(PICTURE),
        v4.new_markdown_cell("$$\\log p(x) = \\log \\int p(x \\mid z)\\, p(z)\\, dz$$"),
    ]
    for number in range(5):
        checked = code(f"total = {number} + 1\nprint(total)\ntotal", "nbval-check-output")
        cells += [checked, v4.new_markdown_cell("Read it.")]
    cells += [v4.new_markdown_cell("## Summary\n\n## Exercises\n\n## References"), *more]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
