"""The command line around all four commands: Hydra, exit codes, messages.

    @command("search")
    def main(config: dict, folder: Path) -> str | None: ...      # returns the line that the user should see last

Exit codes: 0 done; 2 the input cannot be used (one line on stderr: the key, what is wrong, the cure; nothing left behind);
130 interrupted, with the line that resumes it; 1 a defect of ours, with its traceback.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conf.schema import GROUPS, SCHEMAS, register

Job = Callable[[dict[str, Any], Path], str | None]
HERE = Path(__file__).parent
_MULTIRUN = ("-m", "--multirun")


class InputError(ValueError):
    """The user's input cannot be used. One line: the key, what is wrong, the cure."""


def one_line(text: object) -> str:
    """Any message on one line."""
    return re.sub(r"\s+", " ", str(text)).strip()


def folder_name(name: str) -> str:
    """What a folder cannot hold becomes `_`."""
    return re.sub(r"[^\w.=+,@-]", "_", str(name)).strip(". ") or "_"


def options_first(arguments: list[str]) -> list[str]:
    """Overrides behind the options: `search.py data=digits -m seed=0,1` is one sweep, but the argparse of Python 3.11 and
    3.12 takes overrides in one run only and calls the rest unrecognised."""
    overrides = [a for a in arguments if not a.startswith("-") and ("=" in a or a.startswith("~"))]
    return [*(a for a in arguments if a not in overrides), *overrides]


def command(config_name: str) -> Callable[[Job], Callable[[], None]]:
    """Makes a job a command: `main()` reads sys.argv and exits with the codes above."""

    def wrap(job: Job) -> Callable[[], None]:
        return lambda: sys.exit(_run(config_name, job))

    return wrap


def _run(config_name: str, job: Job) -> int:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here as exceptions instead of Hydra's own print and exit(1)
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    register()
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    OmegaConf.register_new_resolver(
        "options", lambda: "\n".join(f"  {g}={'|'.join(_options(g))}" for g in _groups(config_name)), replace=True
    )
    lines: list[str] = []
    errors: list[Exception] = []
    sys.argv[1:] = options_first(sys.argv[1:])
    multirun = any(a in _MULTIRUN for a in sys.argv[1:])
    before = Path("outputs").exists()

    @hydra.main(version_base="1.3", config_path=".", config_name=config_name)
    def app(cfg: Any) -> None:
        OmegaConf.resolve(cfg)
        folder = Path(HydraConfig.get().runtime.output_dir)
        folder = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        try:
            if not errors and (line := job(OmegaConf.to_container(cfg, throw_on_missing=True), folder)):  # type: ignore[arg-type]
                lines.append(line)
        except Exception as error:
            errors.append(error)  # raised below: Hydra would add lines of its own
        finally:
            _remove_if_empty(folder, before)

    try:
        if multirun:
            _check_sweep(config_name, [a for a in sys.argv[1:] if a not in _MULTIRUN])
        app()
        if errors:
            raise errors[0]
    except InputError as error:
        return _refuse(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        return _refuse(_explain(error, config_name))
    except KeyboardInterrupt as stop:
        with contextlib.suppress(BrokenPipeError):
            print(f"\nInterrupted. {stop} Go on with: {_this_command()}".replace("  ", " "), file=sys.stderr)
        return 130
    if multirun and lines:
        print("Reports: " + "  ".join(lines))
    elif lines:
        print(lines[-1])
    return 0


def _this_command() -> str:
    import shlex

    return shlex.join([Path(sys.executable).name.replace("python3.", "python ").split()[0], *sys.argv])


def _refuse(message: str) -> int:
    print(f"error: {one_line(message)}", file=sys.stderr)
    return 2


def _remove_if_empty(folder: Path, outputs_was_there: bool) -> None:
    """Hydra makes the run folder before the job; a job that was refused leaves none."""
    with contextlib.suppress(OSError):
        if folder.resolve() != Path.cwd():
            folder.rmdir()
        if not outputs_was_there:
            Path("outputs").rmdir()


def _check_sweep(config_name: str, arguments: list[str]) -> None:
    """Under -m each job is a study of its own: equal names would mix them. `worker` is the exception. Also composes every
    job before the first one runs, so that the last one's typing error does not come after an hour."""
    from hydra import compose, initialize_config_dir
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")])
    batches = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    jobs = [job for batch in batches for job in batch]
    names = []
    with initialize_config_dir(str(HERE), version_base="1.3"):
        for job in jobs:
            cfg = compose(config_name, overrides=[o for o in job if not o.startswith("hydra")])
            names.append(str(cfg.name))
    swept = [o.key_or_group for o in overrides if o.is_sweep_override()]
    ((name, times),) = Counter(names).most_common(1) or [("", 0)]
    if times > 1 and swept != ["worker"]:
        varied = [k for k in swept if k not in ("name", "worker")]
        cure = f"name={config_name}-" + "-".join(f"${{{k}.name}}" if k in GROUPS else f"${{{k}}}" for k in varied)
        raise InputError(f"name: {times} of the {len(jobs)} jobs would share {name!r}; give each its own, as in '{cure}'")


def _explain(error: Exception, config_name: str) -> str:
    """Hydra's and OmegaConf's messages as one line with the key and a cure."""
    text = str(error)
    cause = error.__cause__ or error
    if found := re.search(r"Could not find '([\w]+)/([^']+)'", text):
        group, option = found.groups()
        options = _options(group)
        if not options:
            return f"{group}: there is no such group; there are {', '.join(GROUPS)}, experiment, debug"
        return f"{group}={option}: there is no such option; there are {', '.join(options)}"
    if found := re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' (?:is )?not in", text):
        if (HERE / found.group(1)).is_dir():
            return f"{found.group(1)}: is a group that {config_name}.py does not use"
        return f"{found.group(1)}: there is no such key{_near(found.group(1), config_name)}"
    if "Value" in str(cause) and (key := re.search(r"full_key: (\S+)", str(cause))):
        return f"{key.group(1)}: {str(cause).splitlines()[0]}"
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{found.group(1)}: must be given, as in {found.group(1)}=VALUE"
    if found := re.search(r"(LexerNoViableAltException|mismatched input|extraneous input|no viable alternative).*", text):
        return f"command line: {one_line(text)[:200]}; quote values that hold special characters: 'key=\"value\"'"
    return one_line(text)


def _groups(config_name: str) -> list[str]:
    import dataclasses

    own = [f.name for f in dataclasses.fields(SCHEMAS[config_name]) if f.name in GROUPS]
    return [*own, "experiment", "debug"] if config_name == "search" else own


def _options(group: str) -> list[str]:
    return sorted(p.stem for p in (HERE / group).glob("*.yaml"))


def _near(key: str, config_name: str) -> str:
    """The nearest keys of the schema, dotted."""
    import dataclasses

    def keys(kind: type, prefix: str = "") -> list[str]:
        out = []
        for f in dataclasses.fields(kind):
            out.append(prefix + f.name)
            if (inner := GROUPS.get(f.name)) is not None:
                out += keys(inner, f"{prefix}{f.name}.")
            elif f.name == "finalists":
                out += ["finalists.epochs", "finalists.seeds"]
        return out

    near = difflib.get_close_matches(key, keys(SCHEMAS[config_name]), 3, 0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f"; `python {config_name}.py --help` shows them all"
