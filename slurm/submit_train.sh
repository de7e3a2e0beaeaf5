#!/usr/bin/env bash
# One training on the nodes and devices of its trainer section:  slurm/submit_train.sh configs/imagenet512/s.yaml
# --dry-run prints the sbatch command; --help tells more.
set -euo pipefail
set -a
EDM2LITE_SLURM=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$EDM2LITE_SLURM/site.sh"
set +a
exec "$EDM2LITE_PYTHON" -m edm2lite.launch.submit train "$@"
