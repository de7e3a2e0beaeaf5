# Read by the jobs: the site's settings, and a command that goes back to the queue when SLURM says that time is up.

fail() {
    echo "error: $*" >&2
    exit 2
}

set -a
. "$EDM2LITE_SLURM/site.sh"
set +a
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun does not take it from sbatch

requeue() {
    local job=$SLURM_JOB_ID restarts=${SLURM_RESTART_COUNT:-0}
    [[ -n ${SLURM_ARRAY_JOB_ID:-} ]] && job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID # the bare id can mean the whole array
    ((restarts < EDM2LITE_MAX_REQUEUES)) ||
        fail "job $job was requeued $restarts times already (EDM2LITE_MAX_REQUEUES); submit it again to go on"
    scontrol requeue "$job"
}

preempted() {
    [[ $(scontrol show job --oneliner "$SLURM_JOB_ID") != *PreemptTime=None* ]]
}

# Runs in the background, because bash handles a signal only between two commands. Whatever the command wrote is whole.
run_requeued() {
    trap requeue USR1
    "$@" &
    local child=$! status=0
    wait "$child" || status=$?
    while kill -0 "$child" 2>/dev/null; do # the signal ended the wait, not the command
        status=0
        wait "$child" || status=$?
    done
    return "$status"
}
