"""The latency of any networks, or of a study's, here, side by side, in one interleaved session.

python measure.py 'nets=[mobilenet_v1-0.25, timm:mobilenetv2_100, outputs/demo/nets/a3f2]' hardware=cpu
python measure.py nets=mobilenets regime=false       # every MobileNet of which an accuracy is published; then report.py
python measure.py nets=pieces                        # the lecture's four blocks and its activations; then report.py
python measure.py name=STUDY hardware.threads=2      # the nets of a study again, under another setting; then report.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from conf.command import InputError, command


@command("measure")
def main(config: dict[str, Any], folder: Path) -> str:
    from study.measuring.sidebyside import measure_nets
    from study.settings import SettingsError, check_hardware

    try:
        if config["resolution"] is not None and config["resolution"] < 1:
            raise InputError(f"resolution={config['resolution']}: must be at least 1 pixel")
        if config["max_ms"] is not None and config["max_ms"] <= 0:
            raise InputError(f"max_ms={config['max_ms']}: must be above 0 milliseconds")
        check_hardware(config["hardware"])
        if is_study(config, folder):
            return str(measure_again(config, folder))
        if config["nets"] == "pieces":
            from study.measuring.pieces import measure_pieces

            return str(measure_pieces(config["hardware"], config["max_ms"], folder))
        nets = "small" if config["nets"] is None else config["nets"]
        path, refused = measure_nets(
            nets, config["resolution"], config["max_ms"], config["hardware"], folder, config["regime"], config["blocks"]
        )
    except SettingsError as error:
        raise InputError(*error.args) from None
    draw(path)
    if refused:
        print(path)
        sys.stdout.flush()
        raise InputError(*refused)
    return str(path)


def is_study(config: dict[str, Any], folder: Path) -> bool:
    """Whether `name` (and `storage`) mean a study. A name that is neither a study's nor one to write under is refused: it would
    be a mistyped study."""
    from analysis.records import holds_study, list_studies

    name = config["name"]
    if config["storage"] is not None or holds_study(folder):
        if config["nets"] is not None:
            raise InputError(f"nets: name={name} is a study, whose own nets are measured; leave nets= out or give another name=")
        if config["resolution"] is not None:
            raise InputError(f"resolution: name={name} is a study, whose nets have their own; leave resolution= out")
        return True
    if config["nets"] is None and name != f"measure-{config['hardware']['name']}" and not (folder / "measure.csv").exists():
        there = ", ".join(s.name for s in list_studies(folder.parent)) or "none"
        raise InputError(f"name={name}: {folder} holds no study (there is {there}); for other nets say which, as in nets=small")
    return False


def measure_again(config: dict[str, Any], folder: Path) -> Path:
    """The nets of a study that are trained, under the settings of `hardware`; says so where more are to come."""
    from analysis.records import StudyError, read, storage_of
    from analysis.transfer import own_latency
    from study.measuring.remeasure import measure_study

    name = config["name"]
    try:
        record = read(config["storage"] or storage_of(folder), name)
    except StudyError as error:
        raise InputError(f"name={name}: {error}") from None
    trained = own_latency(record)["latency_ms"].to_dict()
    if not trained:
        cure = "no net was trained in it" if record.finished else "no net is trained yet; search.py with this name goes on"
        raise InputError(f"name={name}: {cure}")
    if not record.finished:
        nets = "1 net that is" if len(trained) == 1 else f"{len(trained)} nets that are"
        print(f"{name} is not finished: the {nets} trained so far will be measured.")
    return measure_study(
        trained, record.architectures, record.anchors, record.settings, config["max_ms"], config["hardware"], folder
    )


def draw(path: Path) -> None:
    """measure.png beside measure.csv, and measure-executed.png where gated nets were in it: the measurement that was just
    made."""
    import pandas as pd

    from analysis.executed_plot import executed_figure
    from analysis.measured_plot import latest, measured_figure
    from analysis.palette import LIGHT, png

    now = latest(pd.read_csv(path))
    path.with_suffix(".png").write_bytes(png(measured_figure(now, LIGHT)))
    if now["p95_ms"].notna().any():
        by_blocks = latest(pd.read_csv(path.with_name("executed.csv")))
        path.with_name("measure-executed.png").write_bytes(png(executed_figure(by_blocks, now, LIGHT)))


if __name__ == "__main__":
    main()
