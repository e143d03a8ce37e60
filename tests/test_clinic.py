"""Lesson 08 shows the sick classes that its study trained, and examines patients without names."""

import ast
import inspect

import pytest

import course
from helpers.course.exercises import lesson_08

STUDY = course.ROOT / "tools" / "studies" / "clinic_study.py"


def definitions(text):
    """Return {name: code} of the classes and functions at the top of a module, no docstrings."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            for part in ast.walk(node):
                if isinstance(part, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(part):
                    part.body = part.body[1:] or [ast.Pass()]
            found[node.name] = ast.unparse(node)
    return found


def test_the_lesson_shows_what_was_trained():
    trained = definitions(STUDY.read_text(encoding="utf-8"))
    (path,) = course.notebook_paths("08")
    cells = [c for c in course.read(path)["cells"] if c["cell_type"] == "code"]
    shown = definitions("\n".join(map(course.source_of, cells)))
    same = {"MeanPixels", "MeanKL", "QuietNoise", "SigmoidTwice", "SummedLogDet"}
    for name in same | {"take_masks_away"}:
        assert shown[name] == trained[name], name


def test_patients_are_trained_as_they_are_examined():
    trained = definitions(STUDY.read_text(encoding="utf-8"))
    for mine, theirs in ((lesson_08._First, "HeavyKL"), (lesson_08._Second, "VarianceAsSd")):
        body = next(iter(ast.parse(inspect.getsource(mine)).body)).body[1]
        for argument in (*body.args.args, *body.args.kwonlyargs):
            argument.annotation = None
        body.returns = None
        assert ast.unparse(body) in trained[theirs].replace("\n    ", "\n"), theirs


def test_an_unknown_patient_is_refused():
    with pytest.raises(ValueError, match="there are a, b, c"):
        lesson_08.patient("d")
