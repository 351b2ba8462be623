"""What is wrong with a command line, in one line that names the key and the cure."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conf.schema import GROUPS, SCHEMAS

HERE = Path(__file__).parent


class InputError(ValueError):
    """The user's input cannot be used. One line for each problem: the key, what is wrong, the cure."""


def one_line(text: object) -> str:
    """Any message on one line."""
    return re.sub(r"\s+", " ", str(text)).strip()


def check_groups(config_name: str, arguments: Sequence[str]) -> None:
    """InputError for a group that is given no option by name, as in logger=null, of which Hydra says nothing of use."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for argument in arguments:
        if argument.startswith("-") or argument.partition("=")[0] not in groups(config_name):
            continue
        try:
            (given,) = OverridesParser.create().parse_overrides([argument])
        except HydraException:  # told by Hydra's own parsing, with the rest
            continue
        group, value = given.key_or_group, given.value()
        if value is None or value == "":
            raise InputError(f"{argument}: must be an option of the group: {', '.join(options(group))}")


def check_numbers(config: Any, key: str = "") -> None:
    """InputError for inf and nan: no setting takes them, and comparisons let them pass."""
    if isinstance(config, dict):
        for name, value in config.items():
            check_numbers(value, f"{key}.{name}" if key else str(name))
    elif isinstance(config, list):
        for value in config:
            check_numbers(value, key)
    elif isinstance(config, float) and not math.isfinite(config):
        raise InputError(f"{key}={config}: must be a finite number")


def explain(error: Exception, config_name: str) -> str:
    """Hydra's and OmegaConf's messages as one line with the key and a cure."""
    text = str(error)
    cause = error.__cause__ or error
    if found := re.search(r"Could not find '((?:hydra/)?\w+)/([^']+)'", text):
        group, option = found.groups()
        if group == "hydra/launcher" and option.startswith("submitit"):
            return f"{group}={option}: hydra-submitit-launcher is not installed; pip install -e '.[cluster]'"
        there = options(group)
        if not there:
            return f"{group}: there is no such group; there are {', '.join(GROUPS)}, experiment, debug"
        return f"{group}={option}: there is no such option; there are {', '.join(there)}"
    if found := re.search(r"Could not override '([^']+)'", text) or re.search(r"Key '([^']+)' (?:is )?not in", text):
        if (HERE / found.group(1)).is_dir():
            return f"{found.group(1)}: is a group that {config_name}.py does not use"
        return f"{found.group(1)}: there is no such key{_near(found.group(1), config_name)}"
    if found := re.search(r"Missing mandatory value: (\w+)", text):
        return f"{found.group(1)}: must be given, as in {found.group(1)}=VALUE"
    shown = f"`python {config_name}.py --help` shows what it is by default"
    if key := re.search(r"full_key: (\S+)", str(cause)):
        return f"{key.group(1)}: {str(cause).splitlines()[0]}; {shown}"
    if found := re.search(r"Error merging override ([^=\s]+)(=.*)", text):
        return f"{found.group(1)}{found.group(2)}: is not of its kind; {shown}"
    if found := re.search(r"Error parsing override '([^']*)'\s+missing EQUAL", text):
        return f"command line: {found.group(1)!r} is no KEY=VALUE; `python {config_name}.py --help` shows what there is"
    if found := re.search(r"(LexerNoViableAltException|mismatched input|extraneous input|no viable alternative).*", text):
        return f"command line: {one_line(text)[:200]}; quote values that hold special characters: 'key=\"value\"'"
    return one_line(text)


def groups(config_name: str) -> list[str]:
    import dataclasses

    own = [f.name for f in dataclasses.fields(SCHEMAS[config_name]) if f.name in GROUPS]
    return [*own, "experiment", "debug"] if config_name == "search" else own


def options(group: str) -> list[str]:
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
            elif f.name == "halving":
                out += [f"halving.{k}" for k in ("eta", "rungs", "sample", "seeds")]
        return out

    near = difflib.get_close_matches(key, keys(SCHEMAS[config_name]), 3, 0.5)
    return f"; did you mean {' or '.join(near)}?" if near else f"; `python {config_name}.py --help` shows them all"
