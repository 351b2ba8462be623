"""Fully train one network: an anchor, a found one, or any timm or torchvision name. The same command goes on where it stopped.

python train.py net=mobilenet_v1-0.5 data=cifar10
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conf.command import InputError, command


@command("train")
def main(config: dict[str, Any], folder: Path) -> str:
    from study.settings import SettingsError
    from study.training.train import train

    try:
        return str(train(config, folder))
    except SettingsError as error:
        raise InputError(str(error)) from None


if __name__ == "__main__":
    main()
