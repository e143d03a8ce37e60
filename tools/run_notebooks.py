"""Run every notebook in the quick profile on the embedded sample; write the pages under build/.

Each executed notebook is written with its HTML page, which needs no network: MathJax stands beside
it. build/index.html lists them. A failing notebook does not stop the others; the exit code is 1.

usage: run_notebooks.py [NUMBER] [--notebooks FOLDER] [--build FOLDER]
"""

import argparse
import html
import sys
from datetime import timedelta
from pathlib import Path

import nbformat

import course
import pages

INDEX = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Variational autoencoders, hands on</title>
<style>
body {{ font: 17px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: .5rem; border-bottom: 1px solid #ccc }}
.ok {{ color: #175c2e }} .failed {{ color: #a01818; overflow-wrap: anywhere }}
td.number {{ text-align: right; white-space: nowrap }}
</style></head>
<body>
<h1>Variational autoencoders, hands on</h1>
<p>Run in the <em>quick</em> profile on the embedded sample, which checks that every notebook works:
the numbers and pictures are those of a very short training on small data. The committed notebooks
hold the real ones.</p>
<table>
<thead><tr><th>Notebook</th><th>What it does</th><th>Time</th><th>Status</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
<p>{summary}</p>
</body>
</html>
"""

ROW = """<tr><td><a href="{page}">{title}</a></td><td>{sentence}</td>
<td class="number">{seconds:.0f} s</td><td class="{kind}">{status}</td></tr>"""


def main(arguments: list[str]) -> int:
    """Run the notebooks; return the exit code."""
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("number", nargs="?", default="")
    parser.add_argument("--notebooks", type=Path, default=course.NOTEBOOKS)
    parser.add_argument("--build", type=Path, default=course.ROOT / "build")
    options = parser.parse_args(arguments)
    paths, build = course.notebook_paths(options.number, options.notebooks), options.build.resolve()
    if not paths:
        sys.exit(f"error: no notebooks in {options.notebooks}")
    pages.add_mathjax(build)
    names = {path.stem for path in paths}
    rows, failures, total = [], 0, 0.0
    for path in paths:
        nb = course.read(path)
        title, sentence = course.title_and_sentence(nb)
        print(f"{path.name} …", end=" ", flush=True)
        run = course.run(nb, path.parent, course.QUICK | {"VAE_BUILD": str(build)})
        page = pages.linked(pages.to_html(nb, title or path.stem), names)
        error = run.error
        if not error and (fetched := pages.fetched_addresses(page)):
            error = f"the page would fetch {', '.join(fetched)}"
        nbformat.write(nb, build / path.name)
        (build / f"{path.stem}.html").write_text(page, encoding="utf-8")
        rows.append(
            ROW.format(
                page=f"{path.stem}.html",
                title=html.escape(f"{path.name[:2]} {title}"),
                sentence=html.escape(sentence),
                seconds=run.seconds,
                kind="failed" if error else "ok",
                status=html.escape(f"failed in {error}" if error else "ok"),
            )
        )
        failures, total = failures + bool(error), total + run.seconds
        memory = f", {run.memory} MB" if run.memory else ""
        print(f"{run.seconds:.0f} s{memory}, {f'FAILED in {error}' if error else 'ok'}", flush=True)
    count = f"{len(paths)} notebook{'s' * (len(paths) > 1)}"
    summary = f"{count}, {failures} failed, {timedelta(seconds=round(total))}"
    index = build / "index.html"
    index.write_text(INDEX.format(rows="\n".join(rows), summary=summary), encoding="utf-8")
    print(f"{summary}; open {index}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
