"""Figures for slides: each is written, named after its place, and says what there is to see."""

import subprocess
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat import v4

import course
import fake_notebook
import figures

ALT = 'a line that rises: 1 < 2 & "3"'
DRAW = f"""import matplotlib.pyplot as plt
from IPython.display import HTML, display
fig, ax = plt.subplots(figsize=(2, 1))
ax.plot([1, 2])
display(fig, metadata={{"image/png": {{"alt": {ALT!r}}}}})
plt.close(fig)"""
ANIMATE = """display(HTML('<img alt="it &lt;moves&gt;" src="data:image/gif;base64,R0lGODlh">'))
display(HTML("<p>no figure</p>"))"""
BARE = "display(fig)"
HEADINGS = ("## Train: `fit` and what $N(0, I)$ costs", "### What to see")


def toy(*sources):
    """Return a notebook with a title, a figure and these cells below two headings."""
    cells = [v4.new_markdown_cell("# Train a toy"), fake_notebook.code(DRAW)]
    for heading, source in zip(HEADINGS, sources, strict=False):
        cells += [v4.new_markdown_cell(f"{heading}\n\nText."), fake_notebook.code(source)]
    return v4.new_notebook(cells=cells)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three lessons, written once: a good one, one without alt text and one that fails."""
    root = tmp_path_factory.mktemp("figures")
    (root / "figures").mkdir()
    for name in ("01_09_old.svg", "02_01_old.svg", "03_01_old.svg", "04_01_other.svg"):
        (root / "figures" / name).touch()
    sources = {"01_toy": (DRAW, ANIMATE), "02_bare": (DRAW, BARE), "03_bad": ("1 / 0",)}
    for name, cells in sources.items():
        nbformat.write(toy(*cells), root / f"{name}.ipynb")
    before = {path.name: path.read_bytes() for path in root.glob("*.ipynb")}
    code = figures.main(["--notebooks", str(root), "--build", str(root)])
    assert {path.name: path.read_bytes() for path in root.glob("*.ipynb")} == before
    return code, root / "figures"


def names_in(folder, number):
    return sorted(path.name for path in folder.glob(f"{number}_*"))


def test_each_figure_of_a_lesson_is_written_in_place_of_the_old_ones(run):
    _, folder = run
    train = "01_02_train_fit_and_what_n_0_i_costs.svg"
    animation = ["01_03_what_to_see.gif", "01_03_what_to_see.txt"]
    assert names_in(folder, "01") == ["01_01_train_a_toy.svg", train, *animation]
    assert names_in(folder, "04") == ["04_01_other.svg"]


def test_a_figure_says_its_heading_and_its_alt_text(run):
    _, folder = run
    root = ElementTree.parse(folder / "01_02_train_fit_and_what_n_0_i_costs.svg").getroot()
    said = {child.tag.split("}")[1]: child.text for child in list(root)[:2]}
    assert said == {"title": "Train: fit and what N(0, I) costs", "desc": ALT}
    assert root.findall(".//{*}path"), "a drawing, not a picture of pixels"
    assert (folder / "01_03_what_to_see.txt").read_text("utf-8") == "it <moves>\n"
    assert (folder / "01_03_what_to_see.gif").read_bytes() == b"GIF89a"


def test_a_lesson_that_fails_or_leaves_out_an_alt_text_keeps_its_old_figures(run):
    code, folder = run
    assert code == 1
    assert names_in(folder, "02") == ["02_01_old.svg"]
    assert names_in(folder, "03") == ["03_01_old.svg"]


def test_what_is_wrong_is_said(tmp_path, capsys):
    nbformat.write(toy("1 / 0"), tmp_path / "03_bad.ipynb")
    nb = toy(BARE)
    nb.cells[3].outputs = [v4.new_output("display_data", {"image/svg+xml": "<svg></svg>"})]
    with pytest.raises(ValueError, match=r"below 'Train: fit .*' has no alt text: .* plots\.show"):
        figures.figures(nb, "02")
    assert figures.main(["3", "--notebooks", str(tmp_path), "--build", str(tmp_path)]) == 1
    assert "failed in cell 2: ZeroDivisionError" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("heading", "slug"),
    [
        ("What does N(0, I) cost?", "what_does_n_0_i_cost"),
        (
            "Two dimensions: areas, and why triangles are cheap",
            "two_dimensions_areas_and_why_triangles",
        ),
        ("a" * 50, "a" * 50),
    ],
)
def test_a_name_keeps_whole_words(heading, slug):
    assert figures.slug(heading) == slug


def test_make_takes_one_lesson_or_all():
    for arguments, command in ((["NB=07"], "tools/figures.py 07"), ([], "tools/figures.py")):
        done = subprocess.run(
            ["make", "-n", "--no-print-directory", "figures", *arguments],
            cwd=course.ROOT,
            capture_output=True,
            text=True,
        )
        assert done.stdout.rstrip().endswith(command), done.stdout + done.stderr
