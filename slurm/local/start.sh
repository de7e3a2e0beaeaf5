#!/usr/bin/env bash
# A real SLURM of two nodes on this machine, without systemd: for CI, and for trying the scripts.
#
#   eval "$(slurm/local/start.sh FOLDER)"      # then sbatch, squeue ... as on any cluster
#   slurm/local/stop.sh FOLDER
#
# Needs: apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge
# Nodes n1 and n2 with 4 CPUs each, whatever the machine has; partition low (default) is preempted by partition high.
set -euo pipefail
if [[ $# -ne 1 ]]; then
    echo "error: got $# arguments; name the folder for its files and logs: start.sh FOLDER" >&2
    exit 2
fi
for program in munged slurmctld slurmd sinfo; do
    if ! command -v "$program" >/dev/null; then
        echo "error: $program is not installed; try: apt-get install slurmctld slurmd slurm-client munge" >&2
        exit 2
    fi
done
if [[ -e $1 && -n $(ls -A "$1") ]]; then
    echo "error: $1 is not empty; stop what runs there with stop.sh and remove it, or name another folder" >&2
    exit 2
fi
root=$(realpath -m "$1") host=$(hostname -s) user=$(id -un)
port=$((10000 + $$ % 6000 * 3)) # two clusters at a time do not meet
mkdir -p "$root"/{state,log,run,spool/n1,spool/n2}
chmod 755 "$root" "$root/run"
(umask 077 && head -c 1024 /dev/urandom >"$root/run/munge.key")
cat >"$root/slurm.conf" <<CONF
ClusterName=edm2lite
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
# cred_expire: a requeued job starts again 6 seconds later instead of 121
AuthInfo=socket=$root/run/munge.sock,cred_expire=5
StateSaveLocation=$root/state
SlurmdSpoolDir=$root/spool/%n
SlurmctldPidFile=$root/run/slurmctld.pid
SlurmdPidFile=$root/run/slurmd.%n.pid
SlurmctldLogFile=$root/log/slurmctld.log
SlurmdLogFile=$root/log/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobRequeue=1
KillWait=5
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=4 RealMemory=4000
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=4 RealMemory=4000
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=60 MaxTime=INFINITE
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF MaxTime=INFINITE
CONF
export SLURM_CONF=$root/slurm.conf
trap 'if (($?)); then "$(dirname "$0")/stop.sh" "$root"; fi' EXIT # no half a cluster
# --force: the socket may lie in a folder that others cannot enter
munged --force --key-file="$root/run/munge.key" --socket="$root/run/munge.sock" --pid-file="$root/run/munged.pid" \
    --log-file="$root/log/munged.log" --seed-file="$root/run/munged.seed" >&2
slurmctld -c >&2
slurmd -N n1 >&2
slurmd -N n2 >&2
for _ in $(seq 400); do
    if [[ $(sinfo -h -p low -t idle -o %D 2>/dev/null) == 2 ]]; then
        # n1 and n2 are names of SLURM's alone; the ranks meet on this machine
        echo "export SLURM_CONF=$root/slurm.conf MASTER_ADDR=127.0.0.1"
        exit 0
    fi
    sleep 0.05
done
echo "error: the nodes did not become idle; see $root/log" >&2
tail -n 20 "$root"/log/*.log >&2
exit 1
