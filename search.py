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
    from study.folder import refuse_other_settings
    from study.imports import imports
    from study.settings import Settings, SettingsError
    from study.workers import Workers

    try:
        settings = Settings.from_config(config)  # before what takes five seconds to import
        refuse_other_settings(settings, folder, "a search")
        with Workers.of(settings, folder) as workers:
            with imports():
                from study.search import search
                from study.storing.patience import StorageGone
                from study.storing.presence import last
            try:
                url = search(settings, folder, workers)
            except StorageGone as gone:
                raise InputError(f"{gone}; the same command goes on") from None
    except SettingsError as error:
        raise InputError(str(error)) from error
    with last(folder) as ours:
        if settings.worker is not None and not ours:
            return f"Others are at work on {settings.name}: the last of them writes the report."
        return str(report(settings.name, url, folder, settings))


def report(name: str, url: str, folder: Path, settings: Any) -> Path:
    """Writes the report and, with logger=wandb, the study's own run."""
    from analysis.front import front_csv
    from analysis.printed import FIGURES, summary_table
    from analysis.records import read
    from analysis.report import write

    record = read(url, name)
    path = write(record, folder)
    print(summary_table(record))
    if settings.logger["name"] == "wandb":
        from study.tracking import log_study

        front = front_csv(record)
        figures = {figure: draw(record) for figure, draw in FIGURES.items()}
        try:
            log_study(settings, folder, front, figures, {"front_nets": len(front), "trials": len(record.trials)})
        except Exception as error:  # online without a server: everything else is done and on disk
            print(f"W&B did not take the study's run ({' '.join(str(error).split())[:200]})")
    return path


if __name__ == "__main__":
    main()
