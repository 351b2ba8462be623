"""The latency of any networks, here, side by side, in one interleaved session.

python measure.py 'nets=[mobilenet_v1-0.25, timm:mobilenetv2_100, outputs/demo/nets/a3f2]' hardware=cpu
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from conf.command import InputError, command


@command("measure")
def main(config: dict[str, Any], folder: Path) -> str:
    from study.settings import SettingsError, check_hardware
    from study.sidebyside import measure_nets

    try:
        if config["resolution"] is not None and config["resolution"] < 1:
            raise InputError(f"resolution={config['resolution']}: must be at least 1 pixel")
        if config["max_ms"] is not None and config["max_ms"] <= 0:
            raise InputError(f"max_ms={config['max_ms']}: must be above 0 milliseconds")
        check_hardware(config["hardware"])
        path, refused = measure_nets(
            config["nets"], config["resolution"], config["max_ms"], config["hardware"], folder, config["regime"]
        )
    except SettingsError as error:
        raise InputError(*error.args) from None
    draw(path)
    if refused:
        print(path)
        sys.stdout.flush()
        raise InputError(*refused)
    return str(path)


def draw(path: Path) -> None:
    """measure.png beside measure.csv: the measurement that was just made."""
    import pandas as pd

    from analysis.measured_plot import latest, measured_figure
    from analysis.palette import LIGHT, png

    path.with_suffix(".png").write_bytes(png(measured_figure(latest(pd.read_csv(path)), LIGHT)))


if __name__ == "__main__":
    main()
