"""Runs the checks of a notebook's exercises apart from the notebook."""

import ast
import contextlib
import io

import exercise_answers

import course

CHECK = "exercise-check"


def names_of(nb) -> dict:
    """Return the names that the checks of a notebook may use.

    Those are its imports with short names for parts of them (``tfd = tfp.distributions``), its
    taught definitions, and what the cells tagged exercise-check define: functions and CONSTANTS.
    Calls and answers in these cells are left out.
    """
    kept, imported = [], set()
    for cell in nb["cells"]:
        if cell["cell_type"] != "code":
            continue
        check = CHECK in course.tags(cell)
        for node in ast.parse(course.source_of(cell)).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                kept.append(node)
                imported |= {name.asname or name.name for name in node.names}
            elif isinstance(node, ast.Assign) and _is_short_name(node.value, imported):
                kept.append(node)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                kept += [node] * (check or "taught" in cell["metadata"])
            elif check and isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                kept += [node] * node.targets[0].id.isupper()
    names = {"__name__": "exercises"}
    exec(compile(ast.Module(kept, []), "<exercise checks>", "exec"), names)
    return names


def _is_short_name(value: ast.expr, imported: set) -> bool:
    """Say whether an assigned value is a part of an imported module, or a tuple of such parts."""
    if isinstance(value, ast.Tuple):
        return all(_is_short_name(part, imported) for part in value.elts)
    return (
        isinstance(value, ast.Attribute)
        and isinstance(value.value, ast.Name)
        and value.value.id in imported
    )


def checks_of(names: dict) -> list[str]:
    """Return the names of the check functions that the notebook defines, not those it imports."""
    own = (name for name, value in names.items() if getattr(value, "__module__", 0) == "exercises")
    return sorted(name for name in own if name.startswith("check_"))


def arguments(answer: exercise_answers.Answer, names: dict) -> tuple:
    """Return the arguments that an answer stands for."""
    return answer(names) if callable(answer) else answer


def judge(names: dict, check: str, exercise: exercise_answers.Exercise) -> list[str]:
    """Return what a check does wrong: it must pass the right answer and an empty one, no other."""
    found, function = [], names[check]
    right = arguments(exercise.right, names)

    def complaint(answer) -> str | None:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                function(*answer)
            except AssertionError as error:
                return str(error)
        if answer and all(part is None or part is ... for part in answer):
            if printed.getvalue().count("\n") != 1:
                found.append(f"{check} prints {printed.getvalue()!r} when unanswered, not one line")
        return None

    if (hint := complaint(right)) is not None:
        found.append(f"{check} refuses the right answer: {hint}")
    for empty in (None, ...):
        if complaint((empty,) * len(right)) is not None:
            found.append(f"{check} fails while unanswered ({empty})")
    if len(exercise.wrong) < 2:
        found.append(f"{check} has {len(exercise.wrong)} wrong answers, want two or more")
    for number, wrong in enumerate(exercise.wrong, start=1):
        hint = complaint(arguments(wrong, names))
        if hint is None:
            found.append(f"{check} accepts wrong answer {number}")
        elif len(hint.split()) < 3:
            found.append(f"{check} gives no hint for wrong answer {number}: {hint!r}")
    return found
