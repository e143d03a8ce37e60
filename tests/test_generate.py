"""What is generated: taught cells, first cells, bars, README and pictures; a notebook alone."""

import os
import shutil
import subprocess
import sys
import sysconfig

import nbformat
import pytest
from packaging.requirements import Requirement

import bootstrap
import course
import fake_notebook
import generate

REPO = "someone/a-course"
HELPER = '''
LIMIT: int = 3


def deco(f):
    return f


class Model:
    """A model.

    Of something.
    """

    @deco
    def elbo(self, x):
        """Return the bound.

        Shape (batch,).
        """
        return x - 1  # one less
'''
RESULTS = """{
 "02/mnist/dynamic/a/log_px": {"value": -87.484, "standard_error": 0.231, "test_images": 10000,
   "samples": 1000, "seed": 42, "epochs": 40, "seconds": 301.3, "weights": 1391456,
   "machine": "a CPU", "headline": true},
 "02/mnist/dynamic/b/log_px": {"value": -88.0, "standard_error": 0.2, "test_images": 10000,
   "samples": 100, "seed": 42, "epochs": 4, "seconds": 3.1, "weights": 12,
   "machine": "a CPU", "headline": true},
 "05/mnist/grey/b/knn": {"value": 0.9759, "seed": 1, "seconds": null, "machine": "a CPU",
   "headline": true},
 "05/mnist/grey/c/knn": {"value": 0.5, "seed": 1, "seconds": null, "machine": "a CPU"}
}"""


def _first():
    """The first cell of a notebook before it is generated."""
    cell = fake_notebook.code("pass", count=1)
    cell["id"] = generate.FIRST_CELL_ID
    return cell


@pytest.fixture
def house(tmp_path):
    """A course of two lessons, one of them taught and with a picture, and one of solutions."""
    root = tmp_path / "house"
    for folder in ("notebooks/solutions", "helpers", "data"):
        (root / folder).mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "CITATION.cff"):
        shutil.copy(course.ROOT / name, root)
    (root / "helpers" / "toy.py").write_text(HELPER, encoding="utf-8")
    (root / "data" / "results.json").write_text(RESULTS, encoding="utf-8")
    taught = fake_notebook.code("def elbo(self, x): ...", taught="helpers.toy:Model.elbo")
    picture = nbformat.v4.new_output("display_data", {"image/png": fake_notebook.PNG})
    picture.metadata = {"image/png": {"alt": 'a "<dot>"'}}
    for name, more in {"01_toy": [taught], "02_next": [], "solutions/01_solutions": []}.items():
        nb = fake_notebook.lesson(_first(), *more, title=name[:2] + " toys")
        nb.cells[1].outputs = [picture] if name == "01_toy" else []
        nbformat.write(nb, root / "notebooks" / f"{name}.ipynb")
    return root


def _texts(root):
    paths = [path for path in root.rglob("*") if path.suffix not in (".png", "") or path.is_file()]
    return {path.name: path.read_bytes() for path in sorted(paths) if path.is_file()}


def _lines(capsys):
    return capsys.readouterr().out.splitlines()


def test_what_is_committed_is_up_to_date():
    assert generate.main(["--check"]) == 0


def test_writing_makes_the_check_pass_and_writing_again_changes_nothing(house, capsys):
    before = _texts(house)
    assert generate.main(["--check"], house) == 1
    assert _texts(house) == before, "a check writes nothing"
    assert generate.main([], house) == 0
    capsys.readouterr()
    assert generate.main(["--check"], house) == 0
    assert _lines(capsys) == ["everything that is generated is up to date"]
    texts = _texts(house)
    assert generate.main([], house) == 0 and _texts(house) == texts


@pytest.fixture
def written(house):
    """The same course after everything was generated."""
    assert generate.main([], house) == 0
    return house


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("notebooks/01_toy.ipynb", "return x - 1", "return x + 1"),
        ("notebooks/01_toy.ipynb", "# one less", "# one more"),
        ("notebooks/02_next.ipynb", "importlib.util", "importlib"),
        ("notebooks/solutions/01_solutions.ipynb", "importlib.util", "importlib"),
        ("notebooks/01_toy.ipynb", "Start of the course", "Begin"),
        ("helpers/toy.py", "return x - 1", "return x - 2"),
        ("README.md", "-87.48", "-87.47"),
        ("data/results.json", "-87.484", "-86.484"),
    ],
)
def test_an_edit_by_hand_is_found_and_mended(written, name, old, new):
    path = written / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert generate.main(["--check"], written) == 1
    assert generate.main([], written) == 0
    assert generate.main(["--check"], written) == 0


# --- Taught cells --------------------------------------------------------------------------------


def _taught(house, nb=None):
    """Return the taught cell of the first lesson, or write the notebook that holds it."""
    path = house / "notebooks" / "01_toy.ipynb"
    if nb is not None:
        return nbformat.write(nb, path)
    nb = course.read(path)
    ((_, cell),) = generate.taught_cells(nb)
    return nb, cell


def test_a_taught_cell_is_the_helper_with_one_line_of_docstring(written):
    assert _taught(written)[1].source == (
        '@deco\ndef elbo(self, x):\n    """Return the bound."""\n    return x - 1  # one less'
    )
    source = generate.helper_source("helpers.toy:Model", written)
    assert '"""A model."""' in source and "Of something" not in source
    assert "Shape" not in source
    assert generate.helper_source("helpers.toy:LIMIT", written) == "LIMIT: int = 3"


def test_line_breaks_of_a_taught_cell_are_its_own(written):
    nb, cell = _taught(written)
    cell.source = cell.source.replace("x - 1", "(\n        x - 1\n    )")
    _taught(written, nb)
    assert generate.main(["--check"], written) == 0
    assert generate.main([], written) == 0 and "(\n" in _taught(written)[1].source


def test_a_helper_is_taught_once_and_must_be_there(written, capsys):
    nb, _ = _taught(written)
    nbformat.write(nb, written / "notebooks" / "02_next.ipynb")
    assert generate.main([], written) == 1
    assert "helpers.toy:Model.elbo is taught in 01_toy.ipynb already" in _lines(capsys)[0]
    nb, cell = _taught(written)
    cell.metadata.taught = "helpers.toy:Model.none"
    _taught(written, nb)
    with pytest.raises(SystemExit, match=r"01_toy.ipynb: .* helpers.toy defines no Model.none"):
        generate.main([], written)
    for name in ("helpers.toy", "helpers.none:x"):
        with pytest.raises(ValueError, match=name):
            generate.helper_source(name, written)


@pytest.mark.parametrize(
    ("shown", "magics"),
    [
        ("", ["%%writefile worker.py"]),
        ("print(2)", ["%%writefile worker.py"]),
        ("%%writefile {folder}/worker.py\nprint(2)", ["%%writefile {folder}/worker.py"]),
        ("%%capture\n%%writefile a.py\n", ["%%capture", "%%writefile a.py"]),
    ],
)
def test_a_taught_file_stands_whole_below_the_magic_of_its_cell(written, capsys, shown, magics):
    (written / "tools").mkdir()
    (written / "tools" / "worker.py").write_text('"""Two\n\nlines."""\n\nprint(1)\n')
    nb, cell = _taught(written)
    cell.metadata.taught, cell.source = "tools/worker.py", shown
    _taught(written, nb)
    assert generate.main(["--check"], written) == 1
    assert "the cell of tools/worker.py differs from its source" in _lines(capsys)[0]
    assert generate.main([], written) == 0
    lines = [*magics, '"""Two', "", 'lines."""', "", "print(1)"]
    assert _taught(written)[1].source == "\n".join(lines)
    assert generate.main(["--check"], written) == 0
    (written / "tools" / "worker.py").unlink()
    with pytest.raises(SystemExit, match=r"'tools/worker\.py': there is no such file"):
        generate.main([], written)


# --- The address, README and pictures ------------------------------------------------------------


def test_an_address_is_set_once_changed_and_taken_away(written):
    unset = _texts(written)
    assert not any(b"colab.research" in unset[n] for n in ("README.md", "pyproject.toml"))
    assert b"[Open in Colab]" not in unset["01_toy.ipynb"]
    assert generate.main(["--address", REPO], written) == 0
    assert generate.main(["--check"], written) == 0
    texts = {name: text.decode() for name, text in _texts(written).items() if name[-3:] != "png"}
    release = f"{REPO}/blob/{generate.RELEASE}"
    address = f"colab.research.google.com/github/{release}/notebooks/01_toy.ipynb"
    assert f"[Open in Colab](https://{address}) · Start of the course · 01" in texts["01_toy.ipynb"]
    assert texts["README.md"].count(address) == 2
    assert f"mybinder.org/v2/gh/{REPO}" in texts["README.md"]
    for name in ("CITATION.cff", "pyproject.toml", "02_next.ipynb", "01_solutions.ipynb"):
        assert f"https://github.com/{REPO}" in texts[name]
    assert generate.main(["--address", "other/place"], written) == 0
    assert not any(REPO.encode() in text for text in _texts(written).values())
    assert generate.main(["--address", ""], written) == 0 and _texts(written) == unset


@pytest.mark.parametrize("wrong", ["a", "https://github.com/a/b", "a/b/c"])
def test_a_wrong_address_is_refused(wrong, written, capsys):
    before = _texts(written)
    with pytest.raises(SystemExit):
        generate.main(["--address", wrong], written)
    assert "owner/name" in capsys.readouterr().err and _texts(written) == before


def test_bars_lead_to_the_neighbours(written):
    first = course.source_of(course.read(written / "notebooks" / "01_toy.ipynb").cells[0])
    assert first.split("\n\n")[1] == "Start of the course · 01 · [02 02 toys →](02_next.ipynb)"
    assert first.split("\n\n")[2].startswith("It adds."), "nothing of the text is lost"
    second = course.source_of(course.read(written / "notebooks" / "02_next.ipynb").cells[0])
    assert second.split("\n\n")[1] == "[← 01 01 toys](01_toy.ipynb) · 02"
    assert generate.with_bar("# T\n\nText.\n\nMore.", "a · b") == "# T\n\na · b\n\nText.\n\nMore."


def test_a_notebook_without_the_first_cell_is_named(written):
    path = written / "notebooks" / "02_next.ipynb"
    nb = course.read(path)
    nb.cells = [cell for cell in nb.cells if cell.id != generate.FIRST_CELL_ID]
    nbformat.write(nb, path)
    with pytest.raises(SystemExit, match=r"02_next.ipynb: no cell has the id 'bootstrap'"):
        generate.main([], written)


def test_results_with_other_samples_stand_in_another_table(written):
    text = (written / "README.md").read_text(encoding="utf-8")
    block = text.split("<!-- results:begin -->")[1].split("<!-- results:end -->")[0]
    many, few, others = block.strip().split("\n\n")
    assert "| a | -87.48 | 0.23 | 10,000 | 1,000 | 42 | 40 | 5 min | 1,391,456 | a CPU |" in many
    assert "| -88.00 |" in few and "| -88.00 |" not in many
    assert "| 05 | mnist | grey | b | knn | 0.9759 |" in others
    assert "| c |" not in block, "only headlines are shown"


def test_a_picture_is_that_of_its_lesson(written, capsys):
    folder = written / "notebooks" / "pictures"
    assert [path.name for path in folder.iterdir()] == ["01.png"]
    lesson, picture = "[01 01 toys](notebooks/01_toy.ipynb)", "notebooks/pictures/01.png"
    row = f'| {lesson} | It adds. | ![a "<dot>"]({picture}) |'
    assert row in (written / "README.md").read_text(encoding="utf-8")
    (folder / "01.png").write_bytes(b"another")
    (folder / "09.png").write_bytes(b"of no lesson")
    capsys.readouterr()
    assert generate.main(["--check"], written) == 1
    assert len(_lines(capsys)) == 2
    assert generate.main([], written) == 0
    assert [path.name for path in folder.iterdir()] == ["01.png"]
    assert (folder / "01.png").read_bytes().startswith(b"\x89PNG")


def test_the_animation_is_the_first_of_the_lessons(written):
    for name, data in (("01_toy", "R0lGODlh"), ("02_next", "R0lGODdh")):
        path = written / "notebooks" / f"{name}.ipynb"
        nb = course.read(path)
        shown = f'<img alt="A &quot;dot&quot;." src="data:image/gif;base64,{data}">'
        nb.cells[1].outputs.append(nbformat.v4.new_output("display_data", {"text/html": shown}))
        nbformat.write(nb, path)
    assert generate.main([], written) == 0
    assert (written / "notebooks" / "pictures" / "animation.gif").read_bytes() == b"GIF89a"
    text = (written / "README.md").read_text(encoding="utf-8")
    assert '![A "dot".](notebooks/pictures/animation.gif)' in text


def test_marks_that_lack_are_named(written):
    (written / "README.md").write_text("# No marks\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"README\.md needs one <!-- links:begin -->"):
        generate.main([], written)


def test_reading_results_imports_no_tensorflow():
    code = "import sys, generate; generate.files; print('tensorflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=course.ROOT / "tools", capture_output=True
    )
    assert done.stdout.strip() == b"False"


# --- A notebook alone ----------------------------------------------------------------------------


def run_alone(cells, folder, **environment):
    """Run cells where the course is not installed; return (exit code, what they say)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VAE_")}
    # Without the start-up files of site-packages, which make the checkout importable.
    packages = {"PYTHONPATH": sysconfig.get_paths()["purelib"]}
    done = subprocess.run(
        [sys.executable, "-S", "-c", "\n".join(cells)],
        cwd=folder,
        env=kept | packages | environment,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A repository with what is committed or about to be, in place of the one on GitHub."""
    folder = tmp_path_factory.mktemp("origin")
    ls = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "helpers", "tools"]
    names = subprocess.run(ls, cwd=course.ROOT, capture_output=True, text=True, check=True).stdout
    for name in [*names.split(), "pyproject.toml"]:
        if (course.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(course.ROOT / name, folder / name)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    commit, tag = [*author, "commit", "-q", "-m", "a"], ["tag", generate.RELEASE]
    later = [*author, "commit", "-q", "--allow-empty", "-m", "after the release"]
    for arguments in (["init", "-q"], ["add", "."], commit, tag, later):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
    return folder


def test_a_notebook_alone_fetches_the_course(origin, tmp_path):
    first = generate.first_cell(REPO).replace(f"{generate.GITHUB}/{REPO}", origin.as_uri())
    assert origin.as_uri() in first
    shown = "import os, helpers\nfrom helpers import data\n"
    shown += "print('here:', os.path.relpath(helpers.__file__), data.load_mnist().display_name)"
    code, said = run_alone([first, shown], tmp_path, VAE_DATA="embedded")
    folder = generate.FOLDER
    assert f"The course is in {folder}/, next to this notebook." in said, said
    assert f"here: {folder}/helpers/__init__.py MNIST sample" in said, said
    assert code == 0 and "Error" not in said and "which is tested" not in said
    assert "installing" not in said and "GPU" not in said
    fetched = subprocess.run(
        ["git", "log", "--format=%s"], cwd=tmp_path / folder, capture_output=True, text=True
    )
    assert fetched.stdout == "a\n", "the release, not what came after it"
    # An uploaded folder does as well where no address is set. Colab without a GPU hears of one.
    colab = "import sys; sys.modules['google.colab'] = sys"
    code, said = run_alone([colab, generate.first_cell("")], tmp_path)
    assert f"The course is in {folder}/" in said and code == 0
    assert ("no GPU" in said) == (shutil.which("nvidia-smi") is None)


def test_a_notebook_alone_says_what_to_do_without_an_address(tmp_path):
    _, said = run_alone([generate.first_cell("")], tmp_path)
    last = said.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: This notebook needs the course around it")
    assert "make lab" in last
    colab = "import sys; sys.modules['google.colab'] = sys"
    _, said = run_alone([colab, generate.first_cell("")], tmp_path)
    last = said.strip().splitlines()[-1]
    assert f"upload its folder as {generate.FOLDER}.zip" in last and "make lab" not in last


@pytest.mark.parametrize("hides", ["helpers.py", "helpers"])
def test_what_hides_the_helpers_is_named(tmp_path, hides):
    path = tmp_path / hides
    path.mkdir() if path.suffix == "" else path.write_text("", encoding="utf-8")
    _, said = run_alone([generate.first_cell(REPO)], tmp_path)
    assert f"{hides} hides the course's helpers: rename it" in said, said


def test_the_first_cell_does_nothing_in_a_checkout(tmp_path):
    path = os.pathsep.join([sysconfig.get_paths()["purelib"], str(course.ROOT)])
    cells = [generate.first_cell(""), generate.first_cell(REPO)]
    code, said = run_alone(cells, tmp_path, PYTHONPATH=path)
    assert code == 0 and said.strip() == ""
    assert list(tmp_path.iterdir()) == []


# --- What a runtime ships ------------------------------------------------------------------------


def _pinned(name):
    """Return {package: version} of a constraints file."""
    text = (course.ROOT / "constraints" / f"{name}.txt").read_text(encoding="utf-8")
    pins = [line.split("==") for line in text.splitlines() if "==" in line]
    return {bootstrap.canonicalize_name(package): version for package, version in pins}


@pytest.mark.parametrize("name", ["oldest", "colab", "newest"])
def test_a_supported_runtime_lacks_nothing(name):
    shipped = _pinned(name) | {"setuptools": "75.2.0"}
    assert bootstrap.judge(bootstrap.wanted(), shipped) == ([], [])


def test_what_is_missing_or_old_is_named():
    wanted = [Requirement(text) for text in ("tf-keras>=2.18", "numpy>=2.0", "tensorflow>=2.18")]
    shipped = {"numpy": "1.26.4", "tensorflow": "2.20.0"}
    missing, (old,) = bootstrap.judge(wanted, shipped)
    assert missing == ["tf-keras"] and old.startswith("numpy 1.26.4 is not >=2.0")
    assert bootstrap.judge(wanted, shipped | {"tensorflow": "2.9.0"})[1][1:], "9 is before 18"
    assert not bootstrap.judge(wanted, shipped | {"numpy": "2.1.0rc1"})[1]
    with pytest.raises(RuntimeError, match=r"no TensorFlow.*TPU"):
        bootstrap.judge(wanted, {"numpy": "2.1.3"})


def test_an_installation_moves_nothing(monkeypatch):
    seen = []

    def run(command, check):
        with open(command[command.index("-c") + 1], encoding="utf-8") as pins:
            seen.append((command, pins.read()))

    monkeypatch.setattr(bootstrap.subprocess, "run", run)
    bootstrap.install(["tf-keras"], {"numpy": "2.1.3", "keras": "3.13.2"})
    ((command, pins),) = seen
    assert pins == "numpy==2.1.3\nkeras==3.13.2\n" and command[-1] == "tf-keras"
    assert not {"-U", "--upgrade", "--force-reinstall"} & set(command)
