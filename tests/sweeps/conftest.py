"""A SLURM of one node for the session, and a way to start the scripts on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from musicrec.config import config_dir

ROOT = config_dir().parent
SCRIPT = Path(__file__).with_name("cluster.sh")
PROGRAMS = ("slurmctld", "slurmd", "srun", "munged", "runuser")


@dataclass(frozen=True)
class Cluster:
    """The cluster, for commands that run on its login node."""

    environment: dict[str, str]
    facts: Path  # a folder like conf/, with local/slurm.yaml in it

    def command(self, *words: str) -> str:
        result = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def state(self, job: str) -> str:
        return self.command("squeue", "--noheader", "--array", f"--jobs={job}", "--states=all", "--format=%T")

    def script(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """Starts a script of the checkout with the slurm launcher; its output comes from `communicate`."""
        command = [sys.executable, str(ROOT / f"{name}.py"), "-m", "hydra/launcher=slurm"]
        command += [f"hydra.searchpath=[file://{self.facts}]", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no SLURM to test on: {', '.join(missing)} missing (Debian: slurmctld slurmd slurm-client munge)")
    if os.geteuid() != 0:
        pytest.skip("only root can start a SLURM of its own")
    folder = Path(tempfile.mkdtemp(prefix="musicrec-slurm-"))
    # The login's own settings must not leak into the jobs; two of them share the node.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
    environment |= {"SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}
    try:
        started = subprocess.run(
            [SCRIPT, "start", folder], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        if started.returncode:
            pytest.fail(f"the SLURM for the tests did not start:\n{started.stderr}")
        facts = folder / "conf" / "local"
        facts.mkdir(parents=True)
        (facts / "slurm.yaml").write_text("partition: tests\ncpus_per_task: 1\nmem_gb: 2\ntimeout_min: 30\n")
        yield Cluster(environment, facts.parent)
    finally:
        subprocess.run([SCRIPT, "stop", folder], env=environment, capture_output=True, timeout=60, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def wait() -> Callable[[Callable[[], object], subprocess.Popen[str]], None]:
    """Returns a function that waits until something is true while a sweep is under way."""

    def until(condition: Callable[[], object], sweep: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            if sweep.poll() is not None or time.monotonic() > deadline:
                sweep.terminate()
                pytest.fail(f"did not happen:\n{sweep.communicate()[0]}")
            time.sleep(0.1)

    return until
