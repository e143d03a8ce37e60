"""The pictures of the README, and the template of a lesson."""

import shutil

import fake_notebook
import nbformat

import course
import hygiene
import pictures


def test_the_pictures_are_those_of_the_notebooks():
    assert pictures.main(["--check"]) == 0


def test_a_picture_that_is_out_of_date_is_found(tmp_path, capsys):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    nb = fake_notebook.lesson()
    nbformat.write(nb, folder / "02_not_run.ipynb")
    assert course.run(nb, tmp_path, {}).error == ""
    nbformat.write(nb, folder / "01_toy.ipynb")
    shutil.copy(course.ROOT / "README.md", tmp_path)
    assert pictures.main(["--check"], tmp_path) == 1
    assert pictures.main([], tmp_path) == 0
    assert pictures.main(["--check"], tmp_path) == 0
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    row = '| [01 Train a toy](notebooks/01_toy.ipynb) | ![a "<dot>"](notebooks/pictures/01.png) |'
    assert row in text and "02.png" not in text
    picture = folder / "pictures" / "01.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.write_bytes(b"another")
    (folder / "pictures" / "09.png").write_bytes(b"of no lesson")
    capsys.readouterr()
    assert pictures.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().out.count("is out of date") == 2
    assert pictures.main([], tmp_path) == 0
    assert [path.name for path in picture.parent.iterdir()] == ["01.png"]


def test_the_template_runs_and_breaks_no_rule_but_those_of_size(tmp_path):
    nb = course.read(course.ROOT / "tools" / "template.ipynb")
    environment = course.QUICK | {"VAE_STRICT": "0", "VAE_BUILD": str(tmp_path)}
    assert course.run(nb, tmp_path, environment).error == ""
    found = hygiene.problems(nb, size=1)
    assert len(found) == 2 and "words of prose" in found[0] and "cells tagged" in found[1], found
