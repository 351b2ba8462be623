"""A real PostgreSQL and a real one-node Slurm for tests and benchmarks: in a folder of their own, on free ports, gone afterwards.

    with Postgres() as server: server.url("big")      # postgresql+psycopg://optuna@127.0.0.1:PORT/big
    with Slurm() as cluster: cluster.environment      # for whoever calls sbatch

Debian: `apt-get install postgresql slurm-wlm munge`. `missing()` of each says in a line why it cannot be had here.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _program(name: str) -> str | None:
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else None)


class Postgres:
    """One server; `kill` is -9 to the postmaster, `start` recovers what it left."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.port = free_port()
        self.as_user: list[str] = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            self.as_user = ["runuser", "-u", "postgres", "--"]
            shutil.chown(self.folder, "postgres")
        self.data = self.folder / "data"

    @staticmethod
    def missing() -> str:
        """Why there can be none; empty if there can."""
        if not _program("initdb") or not _program("pg_ctl"):
            return "PostgreSQL is not installed (initdb, pg_ctl)"
        if os.geteuid() == 0 and subprocess.run(["id", "postgres"], capture_output=True).returncode:
            return "PostgreSQL does not run as root, and there is no user postgres"
        try:
            import psycopg  # noqa: F401
        except ImportError:
            return "psycopg is not installed: pip install -e '.[cluster]'"
        return ""

    def __enter__(self) -> Postgres:
        self._run("initdb", "-D", str(self.data), "-A", "trust", "-U", "optuna")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Until it answers; after a kill the old processes need a moment to be gone."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder}"
        for _ in range(40):
            try:
                self._run("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "-o", options, "start")
                return
            except subprocess.CalledProcessError:
                time.sleep(0.5)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def stop(self) -> None:
        subprocess.run([*self.as_user, str(_program("pg_ctl")), "-D", str(self.data), "-w", "-m", "immediate", "stop"],
                       capture_output=True)  # fmt: skip

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])

    def url(self, database: str = "optuna", password: str = "") -> str:
        """Of a database, made when it is not there."""
        self.sql(f'create database "{database}"', "postgres", check=False)
        return f"postgresql+psycopg://optuna{':' + password if password else ''}@127.0.0.1:{self.port}/{database}"

    def sql(self, command: str, database: str = "optuna", check: bool = True) -> str:
        done = subprocess.run(
            [str(_program("psql")), "-h", "127.0.0.1", "-p", str(self.port), "-U", "optuna", "-At", "-c", command, database],
            capture_output=True, text=True, check=check,
        )  # fmt: skip
        return done.stdout.strip()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run([*self.as_user, str(_program(program)), *arguments], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, cwd="/")  # fmt: skip


SLURM_CONF = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
AuthType=auth/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:8
"""


class Slurm:
    """Controller and one node on this machine; needs root."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.conf = self.folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        self.own_munge = False

    @staticmethod
    def missing() -> str:
        """Why there can be none; empty if there can."""
        if lacks := [p for p in ("slurmctld", "slurmd", "munged", "sbatch") if not shutil.which(p)]:
            return f"Slurm is not installed ({', '.join(lacks)})"
        if os.geteuid():
            return "a Slurm of one's own needs root"
        try:
            import hydra_plugins.hydra_submitit_launcher  # noqa: F401
        except ImportError:
            return "hydra-submitit-launcher is not installed: pip install -e '.[cluster]'"
        return ""

    def __enter__(self) -> Slurm:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        host = socket.gethostname().split(".")[0]
        self.conf.write_text(SLURM_CONF.format(host=host, controller=free_port(), node=free_port(), folder=self.folder,
                                               cpus=os.cpu_count()))  # fmt: skip
        if not Path("/run/munge/munge.socket.2").exists():
            Path("/run/munge").mkdir(exist_ok=True)
            shutil.chown("/run/munge", "munge", "munge")
            subprocess.run(["runuser", "-u", "munge", "--", "munged", "--force"], check=True, capture_output=True)
            self.own_munge = True
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon], env=self.environment, check=True, capture_output=True)
        for _ in range(60):
            if "idle" in self.call("sinfo", "-h", "-o", "%T"):
                return self
            time.sleep(0.5)
        raise RuntimeError((self.folder / "slurmctld.log").read_text()[-2000:])

    def call(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True).stdout

    def __exit__(self, *_: object) -> None:
        for _ in range(20):  # a job outlives its cluster else
            self.call("scancel", "-u", "root")
            if not self.call("squeue", "-h"):
                break
            time.sleep(0.5)
        for daemon in ("slurmd", "slurmctld"):
            _end(self.folder / f"{daemon}.pid")
        if self.own_munge:
            _end(Path("/run/munge/munged.pid"))
        time.sleep(1)
        shutil.rmtree(self.folder, ignore_errors=True)


def _end(pid_file: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
