"""Run lessons and their solutions as readers do: lesson profile, real data; compare strictly.

Without an option the outputs replace the stored ones, but only of a notebook that runs to its end,
agrees with the published run (where the profile has one) and leaves nothing that must not be
committed (tools/hygiene.py says what). The real data are looked for in VAE_DATA_DIR, see
data/README.md.

usage: execute.py [NUMBER] [--check | --try] [--profile lesson|quick]
  --check   run the published lessons, without their solutions, and write nothing
  --try     compare without failing, and write to build/try/: for a lesson that is being written
"""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

import nbformat

import course
import generate
import hygiene

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


def write(nb, path: Path) -> None:
    """Write a notebook whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(nbformat.writes(nb) + "\n", encoding="utf-8")
    part.replace(path)


def execute(path: Path, mode: str, environment: dict, build: Path) -> list[str]:
    """Run one notebook, store it as the mode says, print a line; return what is wrong.

    Modes: "store" in the notebook itself, "try" under build/try, "check" nowhere.
    """
    nb = course.read(path)
    changes = clean(nb) if mode == "store" else []
    print(f"{path.name} …", end=" ", flush=True)
    run = course.run(nb, path.parent, environment)
    problems = [f"failed in {run.error}"] if run.error else []
    if mode == "store":
        changes += clean(nb)
        size = len(nbformat.writes(nb).encode()) + 1
        kind = {"solutions": path.parent.name == "solutions", "number": path.name[:2]}
        problems = problems or hygiene.problems(nb, size=size, **kind)
        write(nb, build / "failed" / path.name if problems else path)
    elif mode == "try":
        write(nb, build / "try" / path.name)
    print(f"{run.seconds:.0f} s, {run.memory} MB, {'FAILED' if problems else 'ok'}")
    for line in [*changes, *problems, *closing_lines(nb)]:
        print(f"  {line}", flush=True)
    return problems


def closing_lines(nb) -> list[str]:
    """Return what the closing cell of a lesson printed."""
    outputs = [
        out for cell in nb["cells"] if "closing" in course.tags(cell) for out in cell["outputs"]
    ]
    return "".join(out.get("text", "") for out in outputs).splitlines()


def options_of(arguments: list[str]) -> argparse.Namespace:
    """Return number, mode and profile from the command line."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("number", nargs="?", default="")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", dest="mode", action="store_const", const="check", default="store")
    how.add_argument("--try", dest="mode", action="store_const", const="try")
    parser.add_argument("--profile", choices=("lesson", "quick"), default="lesson")
    options = parser.parse_args(arguments)
    if options.mode == "store" and options.profile != "lesson":
        parser.error("what is stored is a run of the lesson profile: add --check or --try")
    return options


def main(arguments: list[str], folder: Path = course.NOTEBOOKS) -> int:
    """Run the notebooks; return the exit code."""
    options = options_of(arguments)
    checking, storing = options.mode == "check", options.mode == "store"
    if storing and (differing := generate.taught_problems(course.notebook_paths(folder=folder))):
        sys.exit("error: run tools/generate.py first:\n" + "\n".join(differing))
    paths = course.notebook_paths(options.number, folder, solutions=not checking)
    table = course.read_published()
    published = [path for path in paths if options.profile in table.get(path.name[:2], {})]
    if checking and not options.number:
        for path in paths:
            if path not in published:
                print(f"{path.name}: not published yet, not run")
        paths = published
    found = []
    with tempfile.TemporaryDirectory() as nowhere:
        build = Path(nowhere) if checking else course.build_dir()
        for path in paths:
            strict = checking or (storing and path in published)
            environment = {"VAE_BUILD": str(build), "VAE_STRICT": "1" if strict else ""}
            environment = course.ENVIRONMENTS[options.profile] | environment
            found.append(execute(path, options.mode, environment, build))
    failures = sum(bool(problems) for problems in found)
    print(f"{len(paths)} notebooks, {failures} failed")
    return 1 if failures or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
