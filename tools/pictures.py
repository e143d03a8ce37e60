"""Write a picture of each lesson's result to notebooks/pictures/, and all of them into the README.

It is the first picture of the lesson ("Where this lesson ends"), as its run stored it.

usage: pictures.py [--check]     --check changes nothing; exit 1 where a picture is out of date
"""

import base64
import sys
from pathlib import Path

import course


def picture_of(nb) -> tuple[bytes, str]:
    """Return the first PNG among the outputs of a notebook and its alt text, empty before a run."""
    for cell in nb["cells"]:
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                data = "".join(output["data"]["image/png"])
                return base64.b64decode(data), output["metadata"]["image/png"]["alt"]
    return b"", ""


def files(root: Path) -> dict[Path, bytes]:
    """Return the content of every picture, and of the README, as they should be."""
    found, rows = {}, "| lesson | where it ends |\n| --- | --- |\n"
    for lesson in course.notebook_paths(folder=root / "notebooks"):
        nb, number = course.read(lesson), lesson.name[:2]
        picture, alt = picture_of(nb)
        if not picture:
            continue
        found[root / "notebooks" / "pictures" / f"{number}.png"] = picture
        title, _ = course.title_and_sentence(nb)
        link = f"[{number} {title}](notebooks/{lesson.name})"
        rows += f"| {link} | ![{alt}](notebooks/pictures/{number}.png) |\n"
    text = (root / "README.md").read_text(encoding="utf-8")
    found[root / "README.md"] = course.with_block(text, "pictures", rows).encode()
    return found


def main(arguments: list[str], root: Path = course.ROOT) -> int:
    """Write or check; return the exit code."""
    if arguments not in ([], ["--check"]):
        sys.exit(f"error: unexpected arguments {' '.join(arguments)}\n\n{__doc__}")
    wanted, folder = files(root), root / "notebooks" / "pictures"
    stale = [
        path for path, data in wanted.items() if not path.exists() or path.read_bytes() != data
    ]
    stray = set(folder.glob("*")) - set(wanted)
    for path in [*stale, *sorted(stray)]:
        name = path.relative_to(root)
        if arguments:
            print(f"{name} is out of date: run tools/pictures.py")
        elif path in stray:
            path.unlink()
            print(f"{name} removed")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(wanted[path])
            print(f"{name} written")
    return 1 if arguments and (stale or stray) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
