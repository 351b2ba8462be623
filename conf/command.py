"""The command line around all four commands: Hydra, exit codes, messages.

    @command("search")
    def main(config: dict, folder: Path) -> str | None: ...      # returns the line that the user should see last

Exit codes: 0 done; 2 the input cannot be used (one line on stderr: the key, what is wrong, the cure; nothing left behind);
130 interrupted, 143 terminated, with the line that resumes it; 1 a defect of ours, with its traceback.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from conf.ending import INTERRUPTED, TERMINATED, Terminated, sigterm_as_interrupt
from conf.explain import InputError as InputError
from conf.explain import check_groups, check_numbers, explain, groups, one_line, options
from conf.schema import GROUPS, register
from study.storing.secret import has_password, shown

Job = Callable[[dict[str, Any], Path], str | None]
HERE = Path(__file__).parent
_MULTIRUN = ("-m", "--multirun")
_WITH_VALUE = ("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd",
               "--experimental-rerun")  # fmt: skip


class _Resolvers:
    """What our yaml files ask of OmegaConf; made again in each process that this is sent to, as submitit sends a job."""

    def __init__(self, config_name: str):
        from omegaconf import OmegaConf

        self.config_name = config_name
        OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
        OmegaConf.register_new_resolver(
            "options", lambda: "\n".join(f"  {g}={'|'.join(options(g))}" for g in groups(config_name)), replace=True
        )

    def __reduce__(self) -> tuple[type[_Resolvers], tuple[str]]:
        return _Resolvers, (self.config_name,)


def folder_name(name: str) -> str:
    """What a folder cannot hold becomes `_`; a name longer than it can hold keeps its beginning and a mark of the whole."""
    safe = re.sub(r"[^\w.=+,@-]", "_", str(name)).strip(". ") or "_"
    if len(safe.encode()) > 200:
        safe = safe[:60] + "-" + hashlib.sha256(safe.encode()).hexdigest()[:8]
    return safe


def options_first(arguments: list[str]) -> list[str]:
    """Overrides behind the options: `search.py data=digits -m seed=0,1` is one sweep, but the argparse of Python 3.11 and
    3.12 takes overrides in one run only and calls the rest unrecognised."""
    options: list[str] = []
    overrides: list[str] = []
    value = False
    for a in arguments:
        (options if value or a.startswith("-") else overrides).append(a)
        value = a in _WITH_VALUE
    return [*options, *overrides]


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
    resolvers = _Resolvers(config_name)
    lines: list[str] = []
    names: list[str] = []
    errors: list[Exception] = []
    sys.argv[1:] = options_first(sys.argv[1:])
    multirun = any(a in _MULTIRUN for a in sys.argv[1:])
    before = Path("outputs").exists()
    process, argv = os.getpid(), list(sys.argv)

    @hydra.main(version_base="1.3", config_path=".", config_name=config_name)
    def app(cfg: Any) -> None:
        assert resolvers  # they travel with this function to a cluster's job
        elsewhere = os.getpid() != process
        sys.argv = list(argv)  # of the user, not of the launcher
        OmegaConf.resolve(cfg)
        folder = Path(HydraConfig.get().runtime.output_dir)
        folder = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        try:
            if "name" in cfg and cfg.name is not None and not str(cfg.name).strip():
                raise InputError("name: must not be empty")
            config: Any = OmegaConf.to_container(cfg, throw_on_missing=True)
            check_numbers(config)
            if not errors and (line := job(config, folder)):
                lines.append(line)
                if elsewhere:
                    print(line)
        except Exception as error:
            if elsewhere:  # the launcher brings it home
                raise
            errors.append(error)  # raised below: Hydra would add lines of its own
        finally:
            _remove_if_empty(folder, before)

    try:
        _check_options(config_name)
        check_groups(config_name, sys.argv[1:])
        if multirun:
            if any(map(has_password, sys.argv)):
                raise InputError("storage: a sweep's settings are written into outputs; put the password into ~/.pgpass or "
                                 "PGPASSWORD, not into the URL")  # fmt: skip
            names = _check_sweep(config_name, [a for a in sys.argv[1:] if a not in _MULTIRUN])
        with sigterm_as_interrupt():
            app()
        if errors:
            raise errors[0]
    except InputError as error:
        return _refuse(*error.args)
    except (HydraException, OmegaConfBaseException) as error:
        return _refuse(explain(error, config_name))
    except KeyboardInterrupt as stop:
        with contextlib.suppress(BrokenPipeError):
            what = "Terminated" if isinstance(stop, Terminated) else "Interrupted"
            print(f"\n{what}. {stop} Go on with: {_this_command()}".replace("  ", " "), file=sys.stderr)
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
    except Exception as error:
        if type(error).__module__.startswith("submitit"):
            return _refuse(f"hydra/launcher: a job did not end by itself ({str(error).splitlines()[0]}); outputs/.submitit holds "
                           "its log; the same command goes on")  # fmt: skip
        raise
    if multirun and not lines:  # its jobs ran elsewhere
        lines = [str(report) for name in names if (report := Path("outputs") / name / "report.html").exists()]
    if multirun and lines:
        print("Reports: " + "  ".join(lines))
    elif lines:
        print(lines[-1])
    return 0


def _check_options(config_name: str) -> None:
    """Hydra's own parser, without its page of usage."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise InputError(f"command line: {message}; `python {config_name}.py --help` shows what there is")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    _, unknown = parser.parse_known_args([a for a in sys.argv[1:] if a != "--version"])
    if unknown:
        refuse(f"{unknown[0]} is no option and no KEY=VALUE")


def _this_command() -> str:
    import shlex

    return shown(shlex.join([Path(sys.executable).name.replace("python3.", "python ").split()[0], *sys.argv]))


def _refuse(*messages: object) -> int:
    for message in messages:
        print(f"error: {shown(one_line(message))}", file=sys.stderr)
    return 2


def _remove_if_empty(folder: Path, outputs_was_there: bool) -> None:
    """Hydra makes the run folder before the job; a job that was refused leaves none. Its record of a sweep says nothing that
    the studies' own config.yaml does not."""
    with contextlib.suppress(OSError):
        Path("outputs/multirun.yaml").unlink(missing_ok=True)
        if folder.resolve() != Path.cwd():
            folder.rmdir()
        if not outputs_was_there:
            Path("outputs").rmdir()


def _check_sweep(config_name: str, arguments: list[str]) -> list[str]:
    """Under -m each job is a study of its own: equal names would mix them. Exceptions: `worker`, and measure.py name=STUDY, whose
    settings are rows of one table. Also composes every job before the first one runs, so that the last one's typing error does
    not come after an hour."""
    from hydra import compose, initialize_config_dir
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")])
    batches = BasicSweeper.split_arguments(overrides, max_batch_size=None)
    jobs = [job for batch in batches for job in batch]
    others: dict[str, list[tuple[str, ...]]] = {}  # name -> what its jobs say but for `worker`
    with initialize_config_dir(str(HERE), version_base="1.3"):
        for job in jobs:
            said = [o for o in job if not o.startswith("hydra")]
            name = folder_name(str(compose(config_name, overrides=said).get("name")))
            others.setdefault(name, []).append(tuple(o for o in said if not o.startswith("worker=")))
    swept = [o.key_or_group for o in overrides if o.is_sweep_override()]
    if config_name == "measure" and {"name", "nets"} & {o.key_or_group for o in overrides} == {"name"}:
        return list(others)
    for name, jobs_of_name in others.items():
        if len(jobs_of_name) > 1 and (len(set(jobs_of_name)) > 1 or "worker" not in swept):
            varied = [k for k in swept if k not in ("name", "worker")]
            cure = f"name={config_name}-" + "-".join(f"${{{k}.name}}" if k in GROUPS else f"${{{k}}}" for k in varied)
            how = f", as in '{cure}'" if varied else " that stays different as a folder"
            raise InputError(f"name: {len(jobs_of_name)} of the {len(jobs)} jobs would share {name!r}; give each its own{how}")
    return list(others)
