#!/usr/bin/env bash
# A search by several workers that share one journal:  slurm/submit_sweep.sh 8 configs/sweeps/digits.yaml
# Trainings and reference that are missing, an array of workers, and a last job that writes the outcome if none of them
# could. More workers can be added while it runs. --dry-run prints the sbatch commands; --help tells more.
set -euo pipefail
set -a
EDM2LITE_SLURM=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$EDM2LITE_SLURM/site.sh"
set +a
exec "$EDM2LITE_PYTHON" -m edm2lite.launch.submit sweep "$@"
