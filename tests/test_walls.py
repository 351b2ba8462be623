"""The walls of the house: who may know whom. Read from the imports as written, so that a lazy one counts too."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("searchspace", "trainers", "hardware", "study", "analysis", "conf")
# room -> what it must never import
FORBIDDEN = {
    "searchspace": {
        "trainers",
        "hardware",
        "study",
        "analysis",
        "conf",
        "hydra",
        "omegaconf",
        "wandb",
        "wandb_workspaces",
        "optuna",
        "lightning",
    },
    "trainers": {"hardware", "study", "analysis", "conf", "hydra", "omegaconf", "wandb", "wandb_workspaces", "optuna"},
    "hardware": {
        "trainers",
        "study",
        "analysis",
        "conf",
        "hydra",
        "omegaconf",
        "wandb",
        "wandb_workspaces",
        "optuna",
        "lightning",
    },
    "study": {"conf", "hydra"},
    "analysis": {"trainers", "hardware", "study", "conf", "hydra", "omegaconf", "torch", "lightning"},
}
STDLIB_ONLY = ("architecture", "parts", "space", "stage", "edits", "anchors", "skeletons", "counting", "neighbourhood",
               "classics/__init__", "published", "twins")  # fmt: skip


def imports(path):
    """Top-level names, and dotted ones of our own rooms."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


def broken(path, forbidden):
    return sorted({name for name in imports(path) if name.split(".")[0] in forbidden})


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_does_not_know_what_it_should_not(room):
    files = list((ROOT / room).rglob("*.py"))
    assert files
    assert {str(f): b for f in files if (b := broken(f, FORBIDDEN[room]))} == {}


def test_single_places():
    """wandb in two files, Hydra in conf and the four scripts, optuna in analysis in the three that read storage."""
    files = [f for room in ROOMS for f in (ROOT / room).rglob("*.py")] + list(ROOT.glob("*.py"))

    def who(*names):
        return {str(f.relative_to(ROOT)) for f in files if broken(f, set(names))}

    assert who("wandb", "wandb_workspaces") <= {"study/tracking.py", "analysis/report.py"}
    assert all(f.startswith("conf/") for f in who("hydra"))
    assert {f for f in who("optuna") if f.startswith("analysis/")} == {
        "analysis/records.py",
        "analysis/opening.py",
        "analysis/stored.py",
    }


def test_study_knows_of_analysis_only_the_pareto_front_and_how_trials_are_read():
    for f in (ROOT / "study").rglob("*.py"):
        assert {n for n in imports(f) if n.split(".")[0] == "analysis"} <= {"analysis.pareto", "analysis.stored"}, f


def test_analysis_knows_only_the_values_of_searchspace():
    allowed = {f"searchspace.{m}" for m in ("architecture", "space", "edits", "anchors", "published")}
    for f in (ROOT / "analysis").rglob("*.py"):
        assert {n for n in imports(f) if n.split(".")[0] == "searchspace"} <= allowed, f


@pytest.mark.parametrize("module", STDLIB_ONLY)
def test_values_need_the_standard_library_only(module):
    names = {n.split(".")[0] for n in imports(ROOT / "searchspace" / f"{module}.py")} - {"searchspace", "__future__"}
    assert names <= sys.stdlib_module_names


def test_the_test_can_fail(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    from wandb.sdk import x\n")
    assert broken(bad, FORBIDDEN["trainers"]) == ["wandb.sdk"]


@pytest.mark.parametrize("script", ["search", "train", "measure", "report"])
def test_help_imports_neither_torch_nor_lightning(script):
    code = (
        f"import sys, runpy; sys.argv = ['{script}.py', '--help']\n"
        f"try: runpy.run_path('{script}.py', run_name='__main__')\n"
        "except SystemExit as e: assert not e.code, e.code\n"
        "print(sorted({'torch', 'lightning', 'wandb', 'optuna'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]" and f"python {script}.py" in done.stdout


def test_a_parent_imports_nothing_that_only_training_needs():
    """Lightning and its train take three seconds, and its workers begin after them."""
    code = "import sys, study.search; print(*{'lightning', 'torchvision', 'scipy.stats', 'pandas'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "\n"
