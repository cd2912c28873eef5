#!/usr/bin/env bash
# A real SLURM of one node for the tests, apart from any other on this machine: own key, sockets, ports and folder.
#
#   cluster.sh start DIR   prints the path of slurm.conf (export SLURM_CONF=...) once the node takes jobs
#   cluster.sh stop DIR    cancels its jobs, stops its daemons and deletes DIR
#
# Needs root and the Debian packages slurmctld, slurmd, slurm-client and munge. There is no accounting (sacct).
set -euo pipefail

DIR=$2
HOST=$(hostname -s)

free_ports() { # COUNT: ports nobody listens on
    python3 - "$1" <<'PYTHON'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in held:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))
PYTHON
}

start() {
    # munged refuses a folder that others cannot enter or may write to.
    mkdir -p "$DIR"/{munge,state,spool}
    chmod 755 "$DIR" "$DIR/munge"
    dd if=/dev/urandom of="$DIR/munge/key" bs=1024 count=1 status=none
    chmod 400 "$DIR/munge/key"
    chown -R munge:munge "$DIR/munge"
    runuser -u munge -- munged --socket="$DIR/munge/socket" --key-file="$DIR/munge/key" \
        --pid-file="$DIR/munge/pid" --log-file="$DIR/munge/log" --seed-file="$DIR/munge/seed"

    local ports
    read -r -a ports <<<"$(free_ports 2)"
    cat >"$DIR/slurm.conf" <<CONF
ClusterName=musicrec-tests
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmdPort=${ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$DIR/munge/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
SchedulerParameters=sched_interval=2,sched_min_interval=100000
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
SlurmctldPidFile=$DIR/slurmctld.pid
SlurmdPidFile=$DIR/slurmd.pid
SlurmctldLogFile=$DIR/slurmctld.log
SlurmdLogFile=$DIR/slurmd.log
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
PartitionName=tests Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
CONF
    export SLURM_CONF=$DIR/slurm.conf
    slurmctld
    slurmd -N "$HOST"
    for _ in $(seq 60); do
        if [ "$(sinfo --noheader --format=%t 2>/dev/null)" = idle ]; then
            echo "$SLURM_CONF"
            return
        fi
        sleep 0.5
    done
    tail -n 20 "$DIR"/*.log "$DIR/munge/log" >&2
    stop
    exit 1
}

stop() {
    export SLURM_CONF=$DIR/slurm.conf
    scancel --signal=KILL --full --user="$(id -un)" 2>/dev/null || true
    scancel --user="$(id -un)" 2>/dev/null || true
    local pid pids=()
    for file in "$DIR/slurmd.pid" "$DIR/slurmctld.pid" "$DIR/munge/pid"; do
        pid=$(cat "$file" 2>/dev/null || true)
        if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then
            pids+=("$pid")
        fi
    done
    for pid in "${pids[@]}"; do
        for _ in $(seq 8); do
            kill -0 "$pid" 2>/dev/null || continue 2
            sleep 0.25
        done
        kill -KILL "$pid" 2>/dev/null || true
    done
    # Steps outlive slurmd by design; those of this cluster name its folder.
    for pid in $(pgrep --full "slurmstepd: \[" || true); do
        if tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qxF "SLURM_CONF=$DIR/slurm.conf"; then
            kill -KILL "$pid" 2>/dev/null || true
        fi
    done
    rm -rf "$DIR"
}

case $1 in
start) start ;;
stop) stop ;;
*)
    echo "usage: $0 start|stop DIR" >&2
    exit 2
    ;;
esac
