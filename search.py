"""Search lean networks for accuracy against latency measured here: anchors -> search -> finalists -> report.

    python search.py searchspace=mobile hardware=cpu

Interrupted, the same command goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conf.command import InputError, command


@command("search")
def main(config: dict[str, Any], folder: Path) -> str:
    from study.search import search
    from study.settings import Settings, SettingsError

    try:
        return str(search(Settings.from_config(config), folder))
    except SettingsError as error:
        raise InputError(str(error)) from error


if __name__ == "__main__":
    main()
