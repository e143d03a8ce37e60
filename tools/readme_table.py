"""Write the README's table of results from data/results.json: every number marked as a headline.

usage: readme_table.py [--check]     --check changes nothing; exit 1 where the table is out of date
"""

import sys

import course
from helpers import evaluation

README = course.ROOT / "README.md"
HEAD = (
    "| notebook | data | protocol | model | metric | value | seed | time | machine |\n"
    "| --- | --- | --- | --- | --- | ---: | ---: | ---: | --- |\n"
)


def duration(seconds: float | None) -> str:
    """Return seconds below two minutes, else minutes; empty where no time was recorded."""
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def table(entries: dict) -> str:
    """Return the Markdown table of the headline numbers."""
    rows = []
    for key, entry in sorted(entries.items()):
        if entry.get("headline"):
            value = entry["value"]
            shown = f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"
            cells = [*key.split("/"), f"{shown} {entry.get('unit', '')}".strip(), entry["seed"]]
            cells += [duration(entry["seconds"]), entry["machine"]]
            rows.append("| " + " | ".join(map(str, cells)) + " |\n")
    return HEAD + "".join(rows) if rows else "No results have been recorded yet.\n"


def updated(text: str, entries: dict) -> str:
    """Return the README with a fresh table between its two marks; ValueError where they lack."""
    return course.with_block(text, "results", table(entries))


def main(arguments: list[str]) -> int:
    """Write or check the table."""
    if arguments not in ([], ["--check"]):
        sys.exit(f"error: unexpected arguments {' '.join(arguments)}\n\n{__doc__}")
    text = README.read_text(encoding="utf-8")
    new = updated(text, evaluation.read_results(course.ROOT / "data" / "results.json"))
    if arguments and new != text:
        print("README.md: the table of results is out of date; run tools/readme_table.py")
        return 1
    if new != text:
        README.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
