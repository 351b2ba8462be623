"""Read a finished or running study, write its report again, publish it to W&B. It only reads.

python report.py                                  # the studies there are
python report.py name=NAME                        # report.html, report.md, trials.csv, front.csv
python report.py name=NAME max_latency_ms=2       # the best net under that budget, and its path
python report.py name=NAME table=front            # front | trials | anchors | transfer (what measure.py name=NAME measured)
python report.py name=NAME figure=front           # front | hypervolume | effects, as PNG beside the report
python report.py name=TRAINING figure=decisions   # which blocks a gated net runs, for which images
python report.py table=trainings                  # table and figure: all that train.py trained below outputs/; its curves
python report.py table=skipnet                    # table and figure: all trainings of SkipNet, and what they say
python report.py table=classics                   # classics | gates: the lecture's tables recomputed, with what was measured here
python report.py figure=classics                  # MobileNets on CPU and GPU, four blocks, activations: outputs/classics/*.png
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conf.command import InputError, command, folder_name


@command("report")
def main(config: dict[str, Any], folder: Path) -> str | None:
    from analysis.printed import FIGURES, OF_LECTURE, OF_TRAININGS, TABLES, best_line, known
    from analysis.records import StudyError, list_studies, read, storage_of

    outputs = Path("outputs")
    budget = config["max_latency_ms"]
    named = outputs / folder_name(config["name"]) if config["name"] is not None else None
    for key in ("table", "figure"):
        if config[key] is not None and config[key] not in known(key):
            raise InputError(f"{key}={config[key]}: must be one of {', '.join(known(key))}")
        asked = key, config[key]
        try:
            if asked in OF_TRAININGS:
                return OF_TRAININGS[asked](outputs, named)
            if asked in OF_LECTURE:
                if named is not None:
                    raise InputError(f"name={config['name']}: {key}={config[key]} is of no study; leave name= out")
                from study.measuring.lecture import FACTS

                return OF_LECTURE[asked](FACTS[asked](), outputs)
        except StudyError as error:
            raise InputError(f"{key}={config[key]}: {error}") from None
    if budget is not None and budget <= 0:
        raise InputError(f"max_latency_ms={budget}: must be above 0 milliseconds")
    try:
        if config["name"] is None:
            for key in ("table", "figure"):
                if config[key] is not None:
                    raise InputError(f"{key}={config[key]}: is of one study; add name=NAME (python report.py lists them)")
            studies = list_studies(config["storage"] or outputs)
            for s in studies:
                print(f"{s.name}  ({s.phase})")
            return None if studies else "There is no study yet; python search.py makes one."
        target = named
        record = read(config["storage"] or storage_of(target), config["name"])
    except StudyError as error:
        raise InputError(f"name={config['name']}: {error}" if config["name"] is not None else str(error)) from None
    if budget is not None:
        return best_line(record, budget, target)
    if config["table"] is not None:
        try:
            print(TABLES[config["table"]](record, target))
        except StudyError as error:
            raise InputError(f"table={config['table']}: {error}") from None
        return None
    target.mkdir(parents=True, exist_ok=True)
    if config["figure"] is not None:
        path = target / f"{config['figure']}.png"
        path.write_bytes(FIGURES[config["figure"]](record))
        return str(path)
    from analysis.report import publish, write
    from analysis.transfer import read_measured

    try:
        read_measured(target)
    except StudyError as error:
        raise InputError(f"name={config['name']}: {error}") from None
    write(record, target)
    if config["logger"]["name"] == "wandb" and config["logger"]["mode"] == "online":
        print(publish(record, config["logger"]["entity"], config["logger"]["project"]))
    return str(target / "report.html")


if __name__ == "__main__":
    main()
