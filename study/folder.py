"""The output folder: files that appear whole or not at all, and the settings it was made by."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from study.settings import Settings, SettingsError

SETTINGS = ".settings.json"


def put(path: Path, what: str | bytes) -> None:
    """Writes a file in one step: a kill or a full disk leaves the one before."""
    part = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")  # a cluster's jobs share a folder
    try:
        part.write_bytes(what.encode() if isinstance(what, str) else what)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def refuse_other_settings(settings: Settings, folder: Path, what: str) -> None:
    """SettingsError when the folder was made by other settings, or holds something else than `what`; it is not touched."""
    before = folder / SETTINGS
    if before.exists():
        if differ := settings.differences(Settings.read(before).to_dict()):
            raise SettingsError(
                f"name={settings.name}: {folder} was made by other settings ({'; '.join(differ)}); give another name="
            )
    elif folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir()):  # hidden: another job's, in the making
        raise SettingsError(f"name={settings.name}: {folder} holds something else than {what}; give another name=")


def remember(settings: Settings, folder: Path) -> None:
    """config.yaml for people, and the same as JSON for workers and for the next run."""
    from omegaconf import OmegaConf

    folder.mkdir(parents=True, exist_ok=True)
    put(folder / SETTINGS, settings.to_json())  # first: by it another job knows the folder
    put(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(settings.to_dict())))
