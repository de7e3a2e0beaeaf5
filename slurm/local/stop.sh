#!/usr/bin/env bash
# Cancel all jobs of the cluster that start.sh put in FOLDER, and end its daemons; the files stay.
set -euo pipefail
if [[ $# -ne 1 || ! -f $1/slurm.conf ]]; then
    echo "error: got '$*'; name the folder that was given to start.sh: stop.sh FOLDER" >&2
    exit 2
fi
root=$(realpath "$1")
export SLURM_CONF=$root/slurm.conf
pids=$(cat "$root"/run/{slurmd.n1,slurmd.n2,slurmctld,munged}.pid 2>/dev/null) || true # the daemons remove these files
scancel --user="$(id -un)" 2>/dev/null || true
for _ in $(seq 300); do # a slurmd with a running job would linger
    [[ -z $(timeout 5 squeue -h 2>/dev/null) ]] && break
    sleep 0.1
done
for signal in TERM KILL; do
    for pid in $pids; do kill -s $signal "$pid" 2>/dev/null || true; done
    for _ in $(seq 50); do
        alive=$(for pid in $pids; do if kill -0 "$pid" 2>/dev/null; then echo "$pid"; fi; done)
        [[ -z $alive ]] && exit 0
        sleep 0.1
    done
done
echo "error: processes $alive do not end; see $root/log" >&2
exit 1
