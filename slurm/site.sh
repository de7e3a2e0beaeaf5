# What the scripts need to know of this site: the one file to edit. It is read at submission and again inside every job;
# a variable that is set already wins.

# A Python that has edm2lite. Modules or a virtual environment can be activated here instead.
: "${EDM2LITE_PYTHON=python}"

# sbatch options of every job, then of each kind: --partition, --account, --time, --mem ... Nodes, tasks and GPUs of a
# training come from the `trainer` section of its YAML.
: "${EDM2LITE_SBATCH=}"
: "${EDM2LITE_TRAIN_SBATCH=--time=24:00:00 --cpus-per-task=8}"
: "${EDM2LITE_SAMPLE_SBATCH=--time=8:00:00 --cpus-per-task=8}"
: "${EDM2LITE_EVALUATE_SBATCH=--time=8:00:00 --cpus-per-task=8}"

# How GPUs are called in --gres, for example gpu or gpu:h100; none: there are none.
: "${EDM2LITE_GRES=gpu}"

# Jobs of an array that run at the same time; empty: as many as there is room for.
: "${EDM2LITE_AT_ONCE=}"

# A job goes back to the queue so many seconds before its time is up. Must exceed one training step and a checkpoint.
: "${EDM2LITE_LEAD=180}"

# A job that was requeued so often ends instead.
: "${EDM2LITE_MAX_REQUEUES=1000}"

# Where the logs go.
: "${EDM2LITE_LOGS=slurm-logs}"

# If the compute nodes cannot resolve each other's names: where rank 0 is to be found.
# export MASTER_ADDR=...

# Threads of each process. GPUs do not need more; a run on CPUs is the same to the bit only with the same number.
: "${OMP_NUM_THREADS=1}"
