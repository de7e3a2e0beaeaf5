#!/usr/bin/env bash
# Sample in shards and score the images:  slurm/submit.sh --shards 8 --ref runs/ref.npz -- --main.path runs/x --outdir out
# With --train, models that are missing are trained before. --dry-run prints the sbatch commands; --help tells more.
set -euo pipefail
set -a
EDM2LITE_SLURM=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$EDM2LITE_SLURM/site.sh"
set +a
exec "$EDM2LITE_PYTHON" -m edm2lite.launch.submit images "$@"
