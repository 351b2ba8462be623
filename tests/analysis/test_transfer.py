"""Whether an order of nets holds on other hardware: taus, swaps and regrets by hand, and what the report says of them."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Faker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.stats import kendalltau

from analysis import report
from analysis.elsewhere import finding, transfer_text
from analysis.front import front, nets
from analysis.palette import LIGHT, STAND_IN, svg
from analysis.pareto import contributions, front_mask, hypervolume
from analysis.printed import TABLES
from analysis.records import Record, StudyError
from analysis.transfer import SETTING, own_latency, read_measured, regret, swapped, tau, transfer
from analysis.transfer_plot import transfer_figure


def rows(latency: pd.Series, **setting) -> pd.DataFrame:
    """measured.csv of one setting: id -> ms, intervals of one percent."""
    about = {"device": "cpu", "runtime": "onnxruntime", "threads": 2, "batch": 1, "precision": "fp32", "options": "",
             "machine": "m1", "chip": "AMD EPYC 7B13", "busy": False, "measured_at": "2026-01-01", **setting}  # fmt: skip
    made = pd.DataFrame({"id": latency.index, "latency_ms": latency.to_numpy()}).assign(**about)
    return made.assign(low_ms=made["latency_ms"] * 0.99, high_ms=made["latency_ms"] * 1.01)


def reordered(record: Record) -> pd.Series:
    """The study's latencies, the fastest net's and the slowest's exchanged."""
    ms = own_latency(record)["latency_ms"].copy()
    ms[[ms.idxmin(), ms.idxmax()]] = ms[[ms.idxmax(), ms.idxmin()]].to_numpy()
    return ms


def discovered(record: Record) -> tuple[pd.Series, float]:
    """The study's latencies, but a net that is off its front is the fastest of all; and the share of the hypervolume that this
    net alone holds there (all others are as they were: those off the front stay dominated)."""
    own = own_latency(record)
    off = own.index[~front_mask(own["top1_val"], own["latency_ms"])][0]
    ms = own["latency_ms"].copy()
    ms[off] = ms.min() / 2
    point = (0.0, ms.max())
    held = contributions(own["top1_val"], ms, point)[own.index.get_loc(off)]
    return ms, held / hypervolume(own["top1_val"], ms, point)


@pytest.fixture
def study(finished: Faker, tmp_path: Path) -> tuple[Record, Path]:
    return finished.read(), tmp_path


def test_tau_by_hand() -> None:
    assert tau([1, 2, 3, 4], [10, 20, 30, 40]) == 1 and tau([1, 2, 3], [3, 2, 1]) == -1
    assert tau([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)  # one of six pairs is the other way round
    assert tau([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / math.sqrt(2 * 3))  # tau-b: one pair of three is tied in the first
    assert math.isnan(tau([1, 1], [1, 2])) and math.isnan(tau([], []))


def test_tau_is_scipys() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 5, 40):
        a, b = rng.integers(0, n, n), rng.integers(0, 4 + n, n)
        assert tau(a, b) == pytest.approx(kendalltau(a, b).statistic, nan_ok=True)


def test_a_pair_has_swapped_when_both_orders_are_clear() -> None:
    low, high = [1.0, 2.0, 3.0], [1.1, 2.1, 3.1]
    assert swapped(low, high, low, high) == 0
    assert swapped(low, high, [2.0, 1.0, 3.0], [2.1, 1.1, 3.1]) == 1
    assert swapped(low, high, [3.0, 2.0, 1.0], [3.1, 2.1, 1.1]) == 3
    assert swapped(low, high, [2.0, 1.0, 3.0], [2.1, 2.05, 3.1]) == 0  # there the intervals overlap
    assert swapped(low, high, [2.0, np.nan, 3.0], [2.1, np.nan, 3.1]) == 0


def test_regret_by_hand() -> None:
    top1, here, there = [50.0, 80.0, 90.0], [1.0, 4.0, 3.0], [1.0, 2.0, 4.0]
    # there, up to (0 %, 4 ms): 50 * (2 - 1) + 80 * (4 - 2) = 210. Here the 80 % net is dominated; without it 50 * (4 - 1) = 150
    assert regret(top1, here, there) == pytest.approx(60 / 210)
    assert regret(top1, there, here) == 0  # there all three are on the front
    assert regret(top1, here, here) == 0
    assert math.isnan(regret([50.0], [1.0], [1.0])) and math.isnan(regret([50.0, 60.0], [1.0, 2.0], [3.0, 3.0]))


def test_the_search_beside_two_settings(study: tuple[Record, Path]) -> None:
    record, _ = study
    same = own_latency(record)["latency_ms"]
    half = same.iloc[: len(same) // 2]
    found = transfer(record, pd.concat([rows(3 * half), rows(reordered(record), runtime="eager", threads=1)]))
    n = len(same)
    assert found.labels == (
        "onnxruntime, 1 thread, batch 1 (the search)",
        "onnxruntime, 2 threads, batch 1",
        "eager, 1 thread, batch 1",
    )
    assert found.common.tolist() == [[n, n // 2, n], [n // 2] * 3, [n, n // 2, n]]
    assert (found.tau == found.tau.T).all() and found.tau[0, 0] == found.tau[0, 1] == 1
    # fastest and slowest exchanged: the pair itself, and each with every net between, turn around
    pairs, turned = n * (n - 1) / 2, 1 + 2 * (n - 2)
    assert found.tau[0, 2] == pytest.approx(1 - 2 * turned / pairs)
    assert 0 < found.swapped[0, 2] <= turned and found.swapped[0, 1] == 0
    assert (np.diag(found.regret) == 0).all() and found.regret[0, 1] == 0
    ms, held = discovered(record)
    assert transfer(record, rows(ms)).regret[0, 1] == pytest.approx(held) and held > 0.01


def test_a_net_counts_once_and_a_gated_one_by_its_saved_weights(make) -> None:
    faker = make("finished")
    searched = next(net for net, origin, _ in faker.nets.values() if origin == "search" and not net.gates)
    before = own_latency(faker.read())
    faker.trial(searched, "control", latency_ms=99.0)
    own = own_latency(faker.read())
    assert own.index.is_unique and own.loc[searched.id, "latency_ms"] == before.loc[searched.id, "latency_ms"] < 99
    record = faker.read()
    final = record.finalists.set_index("id")
    gated = [i for i in final.index if faker.nets[i][0].gates]
    static = next(i for i in final.index if not faker.nets[i][0].gates)
    final.loc[[*gated, static], "latency_ms"] = 7.0
    own = own_latency(Record(**{**record.__dict__, "finalists": final.reset_index()}))
    assert gated and (own.loc[gated, "latency_ms"] == 7).all() and own.loc[static, "latency_ms"] < 7


def test_settings_are_named_by_what_differs(study: tuple[Record, Path]) -> None:
    record, _ = study
    ms = own_latency(record)["latency_ms"]
    several = [rows(ms), rows(ms, machine="m2"), rows(ms, precision="int8"), rows(ms, threads=1, options="flush_l2=true")]
    assert transfer(record, pd.concat(several)).labels[1:] == (
        "onnxruntime, 2 threads, batch 1, fp32, m1", "onnxruntime, 2 threads, batch 1, fp32, m2",
        "onnxruntime, 2 threads, batch 1, int8", "onnxruntime, 1 thread, batch 1, fp32, flush_l2=true",
    )  # fmt: skip
    gpu = transfer(record, rows(ms, device="cuda", runtime="cuda_graph", chip="NVIDIA H100"))
    assert gpu.labels == ("AMD EPYC 7B13: onnxruntime, 1 thread, batch 1 (the search)", "NVIDIA H100: cuda_graph, batch 1")


def test_one_setting_only_says_what_to_type(study: tuple[Record, Path], make) -> None:
    record, folder = study
    with pytest.raises(StudyError, match=r"one setting only; .*: python measure.py name=demo hardware.threads=2$"):
        TABLES["transfer"](record, folder)
    two = make("anchors", hardware={"name": "cpu", "runtime": "onnxruntime", "threads": 2, "batch": 1}).read()
    with pytest.raises(StudyError, match=r"hardware\.threads=1$"):
        transfer(two, None)
    others = rows(pd.Series({"unknown": 1.0}))  # nets of another study
    with pytest.raises(StudyError, match="one setting only"):
        transfer(record, others)
    with pytest.raises(StudyError, match="no net of it is trained"):
        transfer(make("empty").read(), rows(pd.Series({"x": 1.0})))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "No columns"),
        ("a,b\n1,2\n", "no column id"),
        ("\x00\x01\n\x02", "no column id"),
        ('id,"x\n1', "EOF"),
        ("GOOD", "latency above 0"),
        ("WORDS", "could not convert"),
    ],
)
def test_a_corrupt_table_is_one_line(study: tuple[Record, Path], text: str, said: str) -> None:
    record, folder = study
    good = rows(own_latency(record)["latency_ms"])
    text = {"GOOD": good.assign(latency_ms=-1.0).to_csv(), "WORDS": good.assign(latency_ms="fast").to_csv()}.get(text, text)
    (folder / "measured.csv").write_text(text)
    with pytest.raises(StudyError) as caught:
        read_measured(folder)
    line = str(caught.value)
    assert "\n" not in line and "measured.csv" in line and said in line and f"python measure.py name={folder.name}" in line
    page = report.write(record, folder).read_text()  # of a search that ran for hours, all the rest
    assert "On other hardware" in page and "Not shown" in page and 'class="wide"' in page


def test_no_table_no_part(study: tuple[Record, Path]) -> None:
    record, folder = study
    assert read_measured(folder) is None and "On other hardware" not in report.write(record, folder).read_text()


def test_the_part_of_the_report(study: tuple[Record, Path]) -> None:
    record, folder = study
    ms = reordered(record)
    lacking = front(record)["id"].iloc[0]
    rows(ms.drop(lacking), runtime="eager", threads=1, busy=True).to_csv(folder / "measured.csv", index=False)
    text = (report.write(record, folder).parent / "report.md").read_text()
    part = text[text.index("## On other hardware") : text.index("## How it was done")]
    found = transfer(record, read_measured(folder))
    assert f"tau {found.tau[0, 1]:.2f} over {len(ms) - 1} nets" in part
    assert "The machine was busy during: eager, 1 thread, batch 1." in part
    shown = nets(record)
    shown = shown[shown["id"].isin(front(record)["id"]) | (shown["origin"] == "anchor")]
    lines = re.findall(r"^\| .*$", part, re.M)[2:]
    assert len(lines) == len(shown) and sum("not measured" in line for line in lines) == 1
    for line, (_, net) in zip(lines, shown.iterrows()):
        name = record.anchors.get(net["id"], net["id"]).replace("_", "\\_") if net["origin"] == "anchor" else net["id"]
        assert name in line and f"{net['latency_ms']:#.3g}".rstrip(".") in line
    assert (folder / "figures" / "transfer.png").read_bytes().startswith(b"\x89PNG") and "figures/transfer.png" in part
    page = (folder / "report.html").read_text()
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_finding_is_what_the_numbers_say(study: tuple[Record, Path]) -> None:
    record, _ = study
    same, turned = own_latency(record)["latency_ms"], reordered(record)
    said = finding(transfer(record, rows(2 * same)))
    assert (
        "**holds** with onnxruntime, 2 threads, batch 1 (tau 1.00" in said
        and "no pair changes" in said
        and "loses **nothing**" in said
    )
    backwards = transfer(record, rows(1 / same))
    said = finding(backwards)
    assert f"**does not hold** with onnxruntime, 2 threads, batch 1 (tau {backwards.tau[0, 1]:.2f} over {len(same)} nets" in said
    assert f"; {backwards.swapped[0, 1]} pairs change order" in said and backwards.swapped[0, 1] > len(same)
    ms, held = discovered(record)
    assert f"choosing by the search's latencies loses **{100 * held:.2g} %** of its hypervolume." in finding(
        transfer(record, rows(ms))
    )
    two = finding(transfer(record, pd.concat([rows(ms), rows(1 / same, runtime="eager")])))
    assert f"loses at most **{100 * held:.2g} %** of the hypervolume, with onnxruntime, 2 threads, batch 1." in two
    both = transfer(record, pd.concat([rows(2 * same), rows(turned, runtime="eager")]))
    assert "with eager, 2 threads, batch 1" in finding(both) and "of 2 other settings the one that agrees least" in finding(both)
    wide = rows(1 / same).assign(low_ms=0.01, high_ms=1000.0)  # no order can be told apart there
    assert "**holds as far as the intervals tell**" in finding(transfer(record, wide))
    assert "too few to tell" in finding(transfer(record, rows(same.iloc[:2])))


def test_the_table_in_a_terminal(study: tuple[Record, Path]) -> None:
    record, folder = study
    turned = reordered(record)
    rows(turned).to_csv(folder / "measured.csv", index=False)
    found, text = transfer(record, rows(turned)), transfer_text(record, folder)
    lines = text.splitlines()
    assert lines[0] == "1  onnxruntime, 1 thread, batch 1 (the search)" and lines[1].startswith("2  onnxruntime, 2 threads")
    at = lines.index("Kendall's tau-b of the latencies")
    assert lines[at + 2].split() == ["1", "1.000", f"{found.tau[0, 1]:.3f}"]
    at = next(i for i, line in enumerate(lines) if line.startswith("Hypervolume lost"))
    assert lines[at + 2].split() == ["1", "0.00", f"{100 * found.regret[0, 1]:.2f}"]
    assert lines[-1] == finding(found).replace("**", "")


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("settings", [1, 4, 9])
def test_the_heat_map(study: tuple[Record, Path], wide: bool, settings: int) -> None:
    record, _ = study
    tables = [
        rows(reordered(record), threads=n + 2, chip="Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz") for n in range(settings)
    ]
    found = transfer(record, pd.concat(tables))
    assert svg(transfer_figure(found, STAND_IN, wide), "p") == svg(transfer_figure(found, STAND_IN, wide), "p")
    drawing = transfer_figure(found, LIGHT, wide)
    renderer, frame = FigureCanvasAgg(drawing.figure).get_renderer(), drawing.figure.bbox
    drawing.figure.draw_without_rendering()
    for axes, numbers in zip(drawing.figure.axes, (found.tau, 100 * found.regret)):
        cells = [t.get_text() for t in axes.texts]

        def told(v: float, of_tau: bool = numbers is found.tau) -> str:
            return f"{v:.2f}" if of_tau else f"{v:.1f}" if v < 9.95 else f"{v:.0f}"

        assert cells == ["–" if i == j else told(v) for i, row in enumerate(numbers) for j, v in enumerate(row)]
        inner = axes.get_window_extent(renderer)
        assert max(t.get_window_extent(renderer).width for t in axes.texts) < inner.width / (settings + 1)
        for text in (*axes.texts, *axes.get_yticklabels(), *axes.get_xticklabels(), axes.title):
            box = text.get_window_extent(renderer)
            assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1, text
        for label in axes.get_yticklabels():
            assert not label.get_text() or label.get_window_extent(renderer).x1 <= inner.x0, label
    assert f"tau {found.tau[0, 1]:.2f}" in drawing.about


def test_study_and_analysis_agree_on_the_table() -> None:
    from analysis.transfer import NEEDED
    from study.measuring.remeasure import COLUMNS
    from study.measuring.remeasure import SETTING as WRITTEN

    assert SETTING == WRITTEN and set(NEEDED) <= set(COLUMNS)
