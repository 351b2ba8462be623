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
        path, refused = measure_nets(config["nets"], config["resolution"], config["max_ms"], config["hardware"], folder)
    except SettingsError as error:
        raise InputError(*error.args) from None
    if refused:
        print(path)
        sys.stdout.flush()
        raise InputError(*refused)
    return str(path)


if __name__ == "__main__":
    main()
