"""W&B: one run a trial (config the architecture, summary what was measured), grouped by study, and one run of the study
with the front as a table and the figures. Offline unless the user said online; `logger=none` imports nothing.

A run is finished in `finally`: the next one would silently go on writing into it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from study.settings import Settings, SettingsError
from study.trial import Candidate


class Run(Protocol):
    def log(self, values: Mapping[str, Any]) -> None: ...
    def end(self, summary: Mapping[str, Any]) -> None: ...


class Tracker(Protocol):
    def trial(self, number: int, candidate: Candidate, origin: str) -> Run: ...
    def close(self) -> None: ...


class NoRun:
    """Tracks nothing."""

    def log(self, values: Mapping[str, Any]) -> None:
        """Nothing."""

    def end(self, summary: Mapping[str, Any]) -> None:
        """Nothing."""


class NoTracker:
    """`logger=none`."""

    def trial(self, number: int, candidate: Candidate, origin: str) -> Run:
        return NoRun()

    def close(self) -> None:
        """Nothing."""


class WandbRun:
    """One run, ended once."""

    def __init__(self, run: Any):
        self.run = run

    def log(self, values: Mapping[str, Any]) -> None:
        self.run.log(dict(values))

    def end(self, summary: Mapping[str, Any]) -> None:
        try:
            self.run.summary.update({k: v for k, v in summary.items() if v is not None})
        finally:
            self.run.finish()


class WandbTracker:
    """`logger=wandb`."""

    def __init__(self, settings: Settings, folder: Path):
        self.settings, self.folder = settings, folder

    def trial(self, number: int, candidate: Candidate, origin: str) -> Run:
        config = {"id": candidate.id, "net": candidate.net, "origin": origin, "seed": self.settings.seed}
        if candidate.architecture is not None:
            config["architecture"] = candidate.architecture.to_dict()
        name = f"{origin}-{number:05d}"
        try:
            return WandbRun(start_run(self.settings, self.folder, name, "trial", config))
        except Exception as error:  # a server that is gone must not cost a trial: the run is kept here
            if self.settings.logger["mode"] != "online":
                raise
            print(f"W&B cannot be reached ({' '.join(str(error).split())[:200]}): runs are written offline from here", flush=True)
            self.settings = replace(self.settings, logger={**self.settings.logger, "mode": "offline"})
            return WandbRun(start_run(self.settings, self.folder, name, "trial", config))

    def close(self) -> None:
        import wandb

        wandb.teardown()


def start_run(settings: Settings, folder: Path, name: str, job_type: str, config: Mapping[str, Any]) -> Any:
    """A W&B run with everything off that is not ours: no system metrics, no git, no console, no probing of the network."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    lean = wandb.Settings(
        x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True, x_save_requirements=False, disable_git=True,
        console="off", silent=True, x_transaction_log_flush_interval=1.0,  # a kill loses a second, not fifteen
        x_stats_coreweave_metadata_base_url="http://127.0.0.1:9",  # the default asks an address on the network
    )  # fmt: skip
    log = settings.logger
    return wandb.init(
        project=log["project"],
        entity=log["entity"],
        mode=log["mode"],
        dir=str(folder),
        group=settings.name,
        name=name,
        job_type=job_type,
        config=dict(config),
        reinit="finish_previous",
        settings=lean,
    )


def log_study(settings: Settings, folder: Path, front: Any, figures: Mapping[str, bytes], summary: Mapping[str, Any]) -> None:
    """The study's own run: front (a DataFrame) as a table, figures (name -> PNG) as images."""
    import io

    import wandb
    from PIL import Image

    run = start_run(settings, folder, settings.name, "study", settings.to_dict())
    try:
        run.log(
            {
                "front": wandb.Table(
                    columns=[str(c) for c in front.columns], data=front.astype(object).where(front.notna(), None).values.tolist()
                )
            }
        )
        for name, png in figures.items():
            run.log({name: wandb.Image(Image.open(io.BytesIO(png)))})
        run.summary.update(dict(summary))
    finally:
        run.finish()
        wandb.teardown()


def check_login(logger: Mapping[str, Any]) -> None:
    """SettingsError when runs are to go online and nobody is logged in, or W&B does not let them."""
    if logger["name"] != "wandb" or logger["mode"] != "online":
        return
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    try:
        logged_in = wandb.login(prompt=False)
    except Exception as error:  # no network, a server that says no
        why = " ".join(str(error).split())[:200]
        raise SettingsError(f"logger.mode=online: {why}; use logger.mode=offline, `wandb sync` sends it later") from None
    if not logged_in:
        raise SettingsError("logger.mode=online: nobody is logged in to W&B here; run `wandb login`, or use logger.mode=offline")


def tracker(settings: Settings, folder: Path) -> Tracker:
    """The tracker of `logger=`."""
    return NoTracker() if settings.logger["name"] == "none" else WandbTracker(settings, folder)
