#!/usr/bin/env bash
# Everything that a table needs and does not have yet:  slurm/submit_table.sh configs/tables/digits.yaml
# Trainings, reference, one job a row, the table. --dry-run prints the sbatch commands; --help tells more.
set -euo pipefail
set -a
EDM2LITE_SLURM=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$EDM2LITE_SLURM/site.sh"
set +a
exec "$EDM2LITE_PYTHON" -m edm2lite.launch.submit table "$@"
