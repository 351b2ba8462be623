"""report.py's tables and figures of the lecture as a user meets them."""

import pytest

from tests.test_command import run


def test_gates_and_figures(tmp_path):
    done = run("report", "table=gates", cwd=tmp_path)
    assert done.returncode == 0 and "FFGate-II" in done.stdout and list(tmp_path.iterdir()) == [], done.stderr
    done = run("report", "figure=classics", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "outputs/classics/activations.png", done.stderr
    assert sorted(p.name for p in tmp_path.rglob("*.png")) == ["activations.png", "blocks.png", "mobilenets.png"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["table=classic"], ["table=classic", "classics"]), (["table=gates", "name=demo"], ["name=demo", "no study"])],
)
def test_wrong_input_is_one_line(arguments, said, tmp_path):
    done = run("report", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and all(word in done.stderr for word in said), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_broken_file_is_one_line(tmp_path):
    (tmp_path / "outputs/mine").mkdir(parents=True)
    (tmp_path / "outputs/mine/measure.csv").write_text("a,b\n")
    done = run("report", "table=classics", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "outputs/mine/measure.csv" in done.stderr, done.stderr
