"""One answer-first report: report.html and report.md on disk with their tables, and the same as a W&B Report.

    record = read("sqlite:///outputs/demo/study.db", "demo")
    write(record, "outputs/demo")                     # report.html, report.md, figures/*.png, trials.csv, front.csv
    best_under(record, 2.0)                           # the row of the best net at or under 2 ms
    wandb_report(record, "entity", "project")         # built offline, not sent; publish() sends it

What is said stands in content.py, how it looks in html.py and document.py. wandb is imported only where it is used.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.content import content
from analysis.document import Bullets, Code, Document, Heading, Paragraph, Picture, escaped, markdown, table_markdown
from analysis.files import write_bytes, write_text
from analysis.front import best_under as best_under
from analysis.front import write_csv
from analysis.html import page
from analysis.palette import LIGHT, png
from analysis.records import Record

if TYPE_CHECKING:
    import wandb_workspaces.reports.v2 as wr


def write(record: Record, folder: str | Path) -> Path:
    """Writes the report and its tables into `folder` (each file replaced in one step) and returns the path of report.html."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    document = content(record, folder)
    write_csv(record, folder)
    for picture in _pictures(document):
        (folder / "figures").mkdir(exist_ok=True)
        write_bytes(folder / "figures" / f"{picture.name}.png", png(picture.draw(LIGHT)))
    write_text(folder / "report.md", markdown(document))
    write_text(folder / "report.html", page(document))
    return folder / "report.html"


def _pictures(document: Document) -> list[Picture]:
    return [item for item in document.items if isinstance(item, Picture)]


def wandb_report(record: Record, entity: str, project: str, folder: str | Path = "") -> wr.Report:
    """The same content as a W&B Report, built without any call to a server and not saved.

    The figures are drawn by W&B from the study's runs (summary keys top1_val and latency_ms, group = the study's name). The
    runset carries no entity and project until `publish`, because with them the library asks the server at once.
    """
    import wandb_workspaces.reports.v2 as wr

    document = content(record, folder or Path("outputs") / record.name)
    blocks: list[Any] = [wr.P(document.about)]
    for item in document.items:
        if isinstance(item, Heading):
            blocks.append((wr.H2 if item.level == 2 else wr.H3)(item.text))
        elif isinstance(item, Paragraph):
            blocks.append(wr.MarkdownBlock(text=escaped(item.text)))
        elif isinstance(item, Bullets):
            blocks.append(wr.MarkdownBlock(text="\n".join(f"- {escaped(text)}" for text in item.items)))
        elif isinstance(item, Code):
            blocks.append(wr.CodeBlock(code=item.text, language="python"))
        elif isinstance(item, Picture):
            blocks += [*_panel(item, record), wr.MarkdownBlock(text=escaped(item.caption))]
        else:
            blocks.append(wr.MarkdownBlock(text=table_markdown(item)))
    return wr.Report(entity=entity, project=project, title=record.name[:128], description=document.about, blocks=blocks)


def _panel(picture: Picture, record: Record) -> list[Any]:
    """W&B's own live panel for a figure, where it has one that says the same."""
    import wandb_workspaces.reports.v2 as wr

    if picture.name == "front":
        panel: Any = wr.ScatterPlot(
            title="validation top-1 against latency of the trials",
            x=wr.SummaryMetric("latency_ms"),
            y=wr.SummaryMetric("top1_val"),
            log_x=True,
            layout=wr.Layout(w=24, h=10),
        )
    elif picture.name == "effects":
        panel = wr.ParameterImportancePlot(with_respect_to="top1_val", layout=wr.Layout(w=24, h=10))
    else:
        panel = wr.MediaBrowser(title=picture.name, media_keys=[picture.name], layout=wr.Layout(w=24, h=10))
    return [
        wr.PanelGrid(
            runsets=[wr.Runset(name=record.name, filters=f"Metric('Group') == {json.dumps(record.name)}")], panels=[panel]
        )
    ]


def publish(record: Record, entity: str, project: str, folder: str | Path = "") -> str:
    """Saves the W&B Report on the server and returns its address. Sends data: call it on the user's own word only."""
    import wandb_workspaces.reports.v2 as wr

    report = wandb_report(record, entity, project, folder)
    for block in report.blocks:
        if isinstance(block, wr.PanelGrid):
            for runset in block.runsets:
                runset.entity, runset.project = entity, project
    report.save()
    return str(report.url)
