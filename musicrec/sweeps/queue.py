"""What squeue and sinfo say: states of jobs, why they wait in plain words, and what the nodes of a partition have."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from dataclasses import dataclass

_SECONDS = 20

# Why SLURM lets a job wait (%r of squeue), in plain words.
_REASONS = {
    "Priority": "jobs of others come first",
    "Resources": "waits until enough cores, memory or GPUs are free",
    "PartitionConfig": "asks for more than this partition allows or its nodes have",
    "PartitionTimeLimit": "asks for more time than this partition allows: hydra.launcher.timeout_min",
    "PartitionNodeLimit": "asks for more nodes than this partition allows",
    "PartitionDown": "the partition is down: hydra.launcher.partition",
    "PartitionInactive": "the partition takes no jobs: hydra.launcher.partition",
    "BadConstraints": "no node has what it asks for",
    "ReqNodeNotAvail": "the nodes that it needs are down, drained or reserved",
    "NodeDown": "a node that it needs is down",
    "Reservation": "waits for a reservation",
    "JobArrayTaskLimit": "as many run as hydra.launcher.array_parallelism allows",
    "BeginTime": "was queued again and starts in two minutes at the latest",
    "Dependency": "waits for other jobs",
    "JobHeldUser": "is held: scontrol release JOB",
    "JobHeldAdmin": "is held by an administrator",
    "Licenses": "waits for a licence",
    "InvalidAccount": "the account is not valid: hydra.launcher.account",
    "InvalidQOS": "the quality of service is not valid: hydra.launcher.qos",
    "AccountNotAllowed": "the account may not use this partition: hydra.launcher.account",
    "QOSNotAllowed": "the quality of service is not allowed here: hydra.launcher.qos",
    "Cleaning": "is being cleaned up before it is queued again",
    "None": "was just submitted",
}
# Beginnings of families of reasons, such as QOSMaxCpuPerUserLimit and AssocGrpGRES.
_FAMILIES = {
    "QOS": "a limit of your quality of service is reached",
    "Assoc": "a limit of your account is reached",
    "MaxGRES": "asks for more GPUs than one may have: hydra.launcher.gres",
    "MaxMem": "asks for more memory than one may have: hydra.launcher.mem_gb",
    "MaxCpu": "asks for more cores than one may have: hydra.launcher.cpus_per_task",
    "launch failed": "failed to start and is held: scontrol release JOB",
}
# Reasons that the size of a job may be the cause of.
SIZES = {"Resources", "PartitionConfig", "PartitionTimeLimit", "BadConstraints", "None"}

WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "PREEMPTED", "RESV_DEL_HOLD"}


@dataclass(frozen=True)
class Queued:
    """A job as squeue shows it.

    Attributes:
        state: e.g. PENDING; GONE if squeue does not know it (any more).
        reason: why it waits.
    """

    state: str
    reason: str = ""


GONE = Queued("GONE")


def explain(reason: str) -> str:
    """Returns a reason of SLURM with plain words after it.

    >>> explain("Priority")
    'Priority: jobs of others come first'
    >>> explain("QOSMaxJobsPerUserLimit")
    'QOSMaxJobsPerUserLimit: a limit of your quality of service is reached'
    """
    bare = reason.strip("() ").partition(",")[0]
    family = next((words for start, words in _FAMILIES.items() if bare.startswith(start)), "")
    words = _REASONS.get(bare) or family
    if bare == "None":
        return words
    return f"{bare}: {words}" if words else bare


def parse(text: str) -> dict[str, Queued]:
    """Returns each job of squeue's lines `id|state|reason`."""
    rows = [line.strip().split("|", 2) for line in text.splitlines() if line.count("|") >= 2]
    return {job: Queued(state, reason) for job, state, reason in rows}


def ask(jobs: Collection[str]) -> dict[str, Queued] | None:
    """Returns what squeue knows of jobs; None if it cannot be asked.

    Args:
        jobs: ids, of arrays as 17 or 17_3.
    """
    if not jobs:
        return {}
    arrays = ",".join(dict.fromkeys(job.partition("_")[0] for job in jobs))
    command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={arrays}", "--format=%i|%T|%r"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if asked.returncode:
        return {} if "invalid job id" in asked.stderr.lower() else None
    return parse(asked.stdout)


def limits(partition: str | None) -> str | None:
    """Returns what one job can have at most on a partition, in one line; None if sinfo cannot be asked.

    Args:
        partition: None = the default one, else all.
    """
    command = ["sinfo", "--noheader", "--format=%P|%c|%m|%G|%l", *([f"--partition={partition}"] if partition else [])]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    rows = [line.strip().split("|") for line in asked.stdout.splitlines() if line.count("|") == 4]
    if not partition:
        rows = [row for row in rows if row[0].endswith("*")] or rows
    if not rows:
        return None
    cores, memory = (max(_number(row[column]) for row in rows) for column in (1, 2))
    gres = sorted({row[3] for row in rows} - {"(null)"})
    return (
        f"the nodes of partition {rows[0][0].rstrip('*')} have at most {cores} cores, {memory // 1024} GB, "
        f"{', '.join(gres) or 'no GPUs'}; time limit {rows[0][4]}"
    )


def _number(text: str) -> int:
    """Returns the number that a field of sinfo begins with, e.g. of 64+."""
    digits = text.rstrip("+")
    return int(digits) if digits.isdigit() else 0
