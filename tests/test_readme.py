"""What the README promises, run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def run(code, cwd):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
    )


def test_the_api_block(tmp_path):
    done = run(BLOCKS[0], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("76524800 1319648 ")  # 0.50 MobileNet-160: 76 M, 1.32 M (the paper's Table 9)


def test_a_block_in_one_file(tmp_path):
    assert BLOCKS[1].startswith("# my_block.py")
    (tmp_path / "my_block.py").write_text(BLOCKS[1])
    command = [
        sys.executable,
        str(ROOT / "search.py"),
        "searchspace.plugins=[my_block]",
        "searchspace.families=[hourglass]",
        "searchspace.squeeze_excite=[false]",
        "searchspace.skeletons=[mobilenet_v1]",
        "searchspace.alphas=[0.25]",
        "searchspace.depths=[2]",
        "searchspace.gates=[none]",
        "max_latency_ms=null",
        "data.resolution=12",
        "data.resolutions=[12]",
        "n_trials=2",
        "epochs=1",
        "finalists.epochs=1",
        "hardware.spread_s=0",
        "anchors=none",
        "logger=none",
        "name=mine",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    saved = list((tmp_path / "outputs/mine/nets").glob("*/architecture.json"))
    assert saved and '"hourglass"' in saved[0].read_text()


def test_the_commands_compose(tmp_path):
    """Every `python SCRIPT.py ...` line of the README, up to the point where it would begin to work."""
    lines = re.findall(r"^    (?:pip install .*&& )?(python (search|train|measure|report)\.py[^#\n]*)", README, re.M)
    assert len(lines) >= 10
    for line, _ in lines:
        if " -m " in line:
            continue  # --cfg shows one job; a sweep's jobs are composed in tests/test_command.py
        done = subprocess.run(
            ["bash", "-c", line.strip().replace("python", sys.executable, 1) + " --cfg job"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 and "name:" in done.stdout, line + done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "docs/results/fashion_mnist/front.png",
        "docs/results/fashion_mnist/README.md",
        "docs/results/anchors.md",
        "docs/results/skipping.md",
        "docs/results/kills.md",
        "docs/results/cluster/README.md",
        "docs/results/cluster/workers.md",
        "constraints.txt",
    ],
)
def test_what_it_points_to_is_there(name):
    assert name.split("/")[-1] in README and (ROOT / name).is_file()
