"""What the parent process does before workers begin: the settings checked against data, anchors, machine and the study that is
there, then written; anchors and first nets queued; dead processes' trials given back."""

from __future__ import annotations

import random
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna

from hardware.runtimes import RuntimeUnavailable, make_runtime, runtime_skips, setting_of
from searchspace.anchors import UnknownNet
from searchspace.architecture import Architecture, ArchitectureError
from searchspace.card import CardError
from searchspace.inputs import own_resolution
from searchspace.named import does_not_fit, resolve
from searchspace.network import Network
from searchspace.space import NotInSpace, SearchSpace
from study.display import Display
from study.folder import remember
from study.settings import Settings, SettingsError
from study.starts import STARTS, starts
from study.storing.given_back import give_back_dead, queue_forgotten
from study.storing.patience import PatientStorage
from study.storing.secret import shown
from study.storing.storage import Studies, over, values_of


def refuse(settings: Settings, study: optuna.Study) -> None:
    """SettingsError for a study that is another one, or whose latencies this machine's would not compare with."""
    # one storage may have another URL seen from another machine
    if differ := settings.differences(study.user_attrs.get("settings", settings.to_dict()), but=("storage",)):
        raise SettingsError(
            f"name={settings.name}: the storage holds this study with other settings ({'; '.join(differ)}); give another name="
        )
    if differ := other_kind(study.user_attrs.get("machine"), settings.hardware["device"]):
        raise SettingsError(
            f"name={settings.name}: this study's latencies are of another kind of machine ({'; '.join(differ)}) and would not "
            "compare with this one's; let its workers run on its kind of machine, or give another name="
        )


def other_kind(machine: dict[str, Any] | None, device: str) -> list[str]:
    """What differs in kind between the study's machine and this one, as `cpu: theirs → ours`; nothing for a new study."""
    from hardware.machine import fingerprint

    ours = fingerprint()
    kind = ("cpu", "units", "os", *(("gpu",) if device == "cuda" else ()))
    return [f"{key}: {machine.get(key)} → {ours[key]}" for key in kind if machine and machine.get(key) != ours[key]]


def prepare(settings: Settings, folder: Path, storage: PatientStorage, study: optuna.Study, space: SearchSpace,
             anchors: dict[str, dict[str, Any]], notes: list[str], show: Display) -> None:  # fmt: skip
    """Settings written, anchors and first nets queued, dead processes' trials given back: by one process at a time."""
    before = study.user_attrs.get("settings", {}).get("n_trials", settings.n_trials)
    _remember(settings, folder, study, space)
    there = values_of(study, "net")
    for note in notes:
        show.note(note)
    for net, params in anchors.items():
        if net not in there:  # with parameters, so that the sampler learns of it
            study.enqueue_trial(params, user_attrs={"origin": "anchor", "net": net})
    _queue_starts(settings, space, study, list(anchors.values()))
    studies = Studies(storage, settings.name).look().values()
    returned = sum(give_back_dead(s, settings.storage is None, blame=False) for s in studies)
    for s in studies:
        queue_forgotten(s)
        # it may go on now: more was asked for, or the disk is no longer full
        if (why := s.user_attrs.get("ended", "")) and (settings.n_trials > before or "could not be trained" in why):
            s.set_user_attr("ended", "")
    if finished := over(study):
        show.note(
            f"Going on with {settings.name}: {finished} trials are there" + (f", {returned} given back" if returned else "") + "."
        )


def check_engine(settings: Settings, space: SearchSpace) -> None:
    """SettingsError for a runtime that is not there, or that cannot run this space's gates."""
    try:
        make_runtime(setting_of(settings.hardware))
    except RuntimeUnavailable as error:
        raise SettingsError(f"hardware.runtime={settings.hardware['runtime']}: {error}") from None
    if set(space.gates) != {"none"} and not runtime_skips(settings.hardware):
        raise SettingsError(
            f"{_engine(settings)}: cannot skip the blocks of gated nets; add 'searchspace.gates=[none]' and anchors without gates"
        )


def _engine(settings: Settings) -> str:
    """The key that says why gated nets do not run."""
    key = "precision" if settings.hardware.get("precision") == "int8" else "runtime"
    return f"hardware.{key}={settings.hardware[key]}"


def space_of_data(settings: Settings) -> SearchSpace:
    """Loads the data as every worker will (what is wrong with it is told now) and makes the space that fits it."""
    from trainers.data import DataError, load

    d = settings.data
    try:
        data = load(d["name"], path=d["path"], fraction=d["fraction"])
    except DataError as error:
        raise SettingsError(str(error)) from None
    return settings.space(len(data.classes), data.channels)


def _remember(settings: Settings, folder: Path, study: optuna.Study, space: SearchSpace) -> None:
    from hardware.machine import fingerprint

    remember(settings, folder)
    study.set_user_attr("settings", settings.to_dict())
    study.set_user_attr("command", shown(shlex.join(["python", *sys.argv])))
    if "machine" not in study.user_attrs:
        study.set_user_attr("machine", fingerprint())
        study.set_user_attr("commit", _commit())
        study.set_user_attr("space_size", space.size())


def _commit() -> str:
    """The checkout's commit, `+` when it has changes; empty without git."""
    here = Path(__file__).resolve().parent
    try:
        head = subprocess.run(["git", "-C", here, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=10)
        dirty = subprocess.run(["git", "-C", here, "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "") if head.returncode == 0 else ""


def anchors_of(settings: Settings, space: SearchSpace) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Anchor -> its parameters ({} for those outside of the space), and what to say of these. Names that cannot be used end
    here, before anything is made."""
    found: dict[str, dict[str, Any]] = {}
    notes = []
    for name in settings.anchors:
        try:
            net = resolve(name, settings.data["resolution"], space.classes, space.in_channels, space.min_map)
        except (UnknownNet, ArchitectureError, CardError) as error:
            raise SettingsError(f"anchors: {error}") from None
        if isinstance(net, Network):
            net = net.architecture
        found[name] = {}
        if not isinstance(net, Architecture):  # a module: trained and measured as it is
            size = own_resolution(net) or settings.data["resolution"]
            if problem := does_not_fit(net, space.in_channels, size, space.classes):
                raise SettingsError(f"anchors: {name} {problem}")
            continue
        if (net.classes, net.in_channels) != (space.classes, space.in_channels):
            raise SettingsError(
                f"anchors: {name} is made for {net.classes} classes and {net.in_channels} channels, "
                f"the data has {space.classes} and {space.in_channels}"
            )
        if net.gates and not runtime_skips(settings.hardware):
            raise SettingsError(f"anchors: {name} has gates, whose blocks {_engine(settings)} cannot skip")
        try:
            found[name] = space.encode(net)
        except NotInSpace:
            near, edits = space.nearest(net)
            notes.append(
                f"{name} is no point of searchspace={space.name}; the nearest is {near.id}, and from there: {'; '.join(edits)}."
            )
    return found, notes


def _queue_starts(settings: Settings, space: SearchSpace, study: optuna.Study, anchors: list[dict[str, Any]]) -> None:
    """The search begins near the anchors, once; random search does not, nor does a study that has begun otherwise."""
    if "starts" in study.user_attrs:
        return
    begun = any(t.state.is_finished() for t in study.get_trials(deepcopy=False))
    points = [] if begun or settings.sampler["name"] == "random" else [space.decode(params) for params in anchors if params]
    first = starts(space, points, min(STARTS, settings.n_trials // 2), random.Random(settings.seed))
    study.set_user_attr("starts", len(first))  # before they are queued: twice would be worse than never
    for net in first:
        study.enqueue_trial(space.encode(net), user_attrs={"origin": "search", "architecture": net.to_dict()})
