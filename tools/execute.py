"""Run notebooks and their solutions in the full profile on the real data, and store their outputs.

The outputs replace the stored ones, and the recorded numbers go to data/results.json, only where a
notebook runs to its end and leaves nothing that must not be committed (tools/hygiene.py says what).
VAE_RECORD=0 tries a run out: outputs and numbers go under build/ instead.

usage: execute.py [NUMBER]
"""

import hashlib
import os
import sys
from pathlib import Path

import nbformat

import course
import hygiene
import taught
from helpers import evaluation

# What editors leave behind. Anything else in a cell's metadata stays.
EDITOR_METADATA = {"ExecuteTime", "collapsed", "colab", "execution", "outputId", "scrolled"}
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
KEPT_METADATA = {"kernelspec", "language_info", "accelerator", "colab", "title"}


def clean(nb) -> list[str]:
    """Bring a notebook to nbformat 4.5 with ids and without editors' metadata; say what changed."""
    said = []
    if (nb["nbformat"], nb["nbformat_minor"]) != (4, 5):
        said.append(f"format {nb['nbformat']}.{nb['nbformat_minor']} becomes 4.5")
        nb.update(nbformat.convert(nb, 4))
        nb["nbformat_minor"] = 5
    seen = set()
    for index, cell in enumerate(nb["cells"]):
        if not cell.get("id") or cell["id"] in seen:
            # From place and text, so that a second run gives the same id.
            text = f"{index} {course.source_of(cell)}"
            cell["id"] = hashlib.sha256(text.encode()).hexdigest()[:8]
            said.append(f"cell {index + 1} gets the id {cell['id']}")
        seen.add(cell["id"])
        for name in sorted(EDITOR_METADATA & cell["metadata"].keys()):
            del cell["metadata"][name]
            said.append(f"cell {index + 1} loses the metadata {name}")
    for name in sorted(nb["metadata"].keys() - KEPT_METADATA):
        del nb["metadata"][name]
        said.append(f"the notebook loses the metadata {name}")
    nb["metadata"]["kernelspec"] = dict(KERNELSPEC)
    nb["metadata"]["language_info"] = {"name": "python", "file_extension": ".py"}
    return said


def publish(numbers: Path, command: str) -> None:
    """Move the numbers of a run to data/results.json, in place of those this command left there."""
    published = evaluation.ROOT / "data" / "results.json"
    entries = evaluation.read_results(numbers)
    evaluation.merge_results(published, entries, lambda _, old: old["command"] == command)


def execute(path: Path, recording: bool) -> list[str]:
    """Run one notebook and store it; return the reasons why it was not stored, none if it was."""
    nb = course.read(path)
    for line in clean(nb):
        print(f"  {line}")
    command = f"make execute NB={path.name[:2]}"
    build = Path(os.environ.get("VAE_BUILD") or course.ROOT / "build").resolve()
    solutions = path.parent.name == "solutions"  # they repeat what the lesson recorded
    numbers = build / "results" / "full" / f"{path.name[:2]}.json"
    if not solutions:
        numbers.unlink(missing_ok=True)
    environment = {"VAE_COMMAND": command, "VAE_BUILD": str(build)}
    run = course.run(nb, path.parent, course.ENVIRONMENTS["full"] | environment)
    clean(nb)
    target = path if recording else build / "full" / path.name
    text = nbformat.writes(nb) + "\n"
    found = hygiene.problems(nb, size=len(text.encode()), solutions=solutions)
    found = [f"failed in {run.error}"] if run.error else found
    if found:
        target = build / "failed" / path.name
    elif recording and not solutions:
        publish(numbers, command)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(target)
    print(f"  {run.seconds:.0f} s, peak memory {run.memory} MB, written to {target.parent.name}/")
    return found


def main(arguments: list[str]) -> int:
    """Run the notebooks; return the exit code."""
    if len(arguments) > 1 or any(not name.isdigit() for name in arguments):
        sys.exit(f"error: unexpected arguments {' '.join(arguments)}\n\n{__doc__}")
    paths = course.notebook_paths(*arguments, solutions=True)
    if differing := taught.differences(course.notebook_paths()):
        sys.exit("error: run tools/taught.py first:\n" + "\n".join(differing))
    recording, failures = os.environ.get("VAE_RECORD", "1") != "0", 0
    for path in paths:
        print(path.relative_to(course.ROOT), flush=True)
        found = execute(path, recording)
        failures += bool(found)
        for problem in found:
            print(f"  NOT STORED: {problem}")
    print(f"{len(paths)} notebooks, {failures} not stored")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
