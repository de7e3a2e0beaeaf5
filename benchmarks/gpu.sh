#!/usr/bin/env bash
# Everything to be run on one GPU, in three parts of less than ten minutes each.
#
#   benchmarks/gpu.sh 1|2|3 [ARCHIVE.tar.gz]
#
# Results go to benchmarks/results, and after each step all of this part also into the archive, if one is named. Each step has
# its own time limit, after which the next begins; its log is NAME.log. Python: $PYTHON, else .venv/bin/python, else python3.
# Part 3 measures the Frechet distance only where runs/demo/digits-main and digits-small are trained.
set -u
part=${1:-}
archive=${2:-}
cd "$(dirname "$0")/.." || exit 2
[[ $part =~ ^[123]$ ]] || { echo "usage: benchmarks/gpu.sh 1|2|3 [ARCHIVE.tar.gz]" >&2; exit 2; }
results=$(mktemp -d)
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
export EDM2LITE_CACHE=${EDM2LITE_CACHE:-$PWD/runs/cache} PYTHONUNBUFFERED=1
failed=0

step() { # SECONDS NAME COMMAND...
    local limit=$1 name=$2 began=$SECONDS status
    shift 2
    echo "== $name: at most $limit s"
    timeout -k 10 "$limit" "$@" >"$results/$name.log" 2>&1
    status=$?
    tail -n 15 "$results/$name.log"
    echo "== $name: status $status after $((SECONDS - began)) s"
    [ $status = 0 ] || failed=1
    mkdir -p benchmarks/results
    cp "$results"/*.json "$results"/*.md benchmarks/results/ 2>/dev/null
    [ -z "$archive" ] || tar czf "$archive" -C "$results" .
}

bench() { # SECONDS NAME SCRIPT OPTIONS...: begins nothing new in the last quarter of its time
    local limit=$1 name=$2 script=$3
    shift 3
    step "$limit" "$name" "$python" "benchmarks/$script.py" "$@" --seconds $((limit * 3 / 4)) --save --out "$results"
}

case $part in
1)
    step 150 tests "$python" -m pytest -q -m gpu tests/test_gpu.py
    bench 400 train-S train_step --size S --data 512 --batch 128,64,256 --dtype fp16 --compile both --repeats 3
    ;;
2)
    bench 150 train-XS train_step --size XS --data 512 --batch 128 --dtype fp16 --compile yes --repeats 3
    bench 190 train-XL train_step --size XL --data 512 --batch 32 --dtype fp16 --compile yes --repeats 3
    bench 90 profile profile_steps --size S --guide XS --batch 64 --dtype fp16 --compile
    bench 80 features features --detectors inception,dinov2 --images 1024 --size 512 --batch 64 --repeats 2
    bench 50 decoder decoder --side 64 --images 16 --repeats 2
    ;;
3)
    bench 330 sampling sampling --pair S+XS --data 512 --batch 64,128 --dtype fp16,bf16 --repeats 2
    bench 90 sampling-fp32 sampling --pair S+XS --data 512 --batch 16 --steps 8 --dtype fp32 --repeats 1 --tag fp32
    bench 130 precision precision
    ;;
esac
rm -r "$results"
exit $failed
