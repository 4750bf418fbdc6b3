#!/usr/bin/env bash
# Runs checks, timings and trainings on a machine with an NVIDIA GPU and without network access.
#
#     OUT=results bash bench/gpu.sh [PART...]
#
# Parts: checks, times, precision, trains, table1, section7, few_labels, long; by default the first
# four. It needs a python3 with JAX for CUDA, Equinox, Optax and PyTorch. Wheels of the other
# dependencies of advnets, and of pytest and hypothesis, may be in the folder WHEELS (.wheels); the
# data, laid out as on the Hub, in ADVNETS_DATA (.data). ONLY="mnist curves" times only those. Up to
# JOBS (4) runs share the GPU at once; timings have it to themselves. If the sources are not a
# checkout, results record COMMIT. TINY=1 tries everything with quick presets, also on a CPU;
# DATASET=digits then makes the data unnecessary.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/gpu}
export ADVNETS_DATA=${ADVNETS_DATA:-$PWD/.data}
export PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1 XLA_PYTHON_CLIENT_PREALLOCATE=false
python=${PYTHON:-python3}
seeds="0 1 2"
[ -z "${TINY:-}" ] || seeds=0
mkdir -p "$out"

wheels=${WHEELS:-.wheels}
site=$(mktemp -d)
if compgen -G "$wheels/*.whl" >/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir \
        --target "$site" "$wheels"/*.whl || exit 1
fi
# The package itself is not installed, but results have to record its version.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
mkdir -p "$site/advnets-$version.dist-info"
printf 'Metadata-Version: 2.1\nName: advnets\nVersion: %s\n' "$version" \
    >"$site/advnets-$version.dist-info/METADATA"
[ -z "${COMMIT:-}" ] || printf '{"url": "", "vcs_info": {"vcs": "git", "commit_id": "%s"}}' "$COMMIT" \
    >"$site/advnets-$version.dist-info/direct_url.json"
export PYTHONPATH=$PWD/src:$site${PYTHONPATH:+:$PYTHONPATH}
"$python" -c 'import advnets, jax, torch; print(jax.devices(), torch.__version__)' || exit 1

run() { # NAME COMMAND...: logs the output too; a failure does not stop the rest
    echo "== $1"
    local began=$SECONDS
    "${@:2}" 2>&1 | tee "$out/$1.log" || { echo "== $1 failed" | tee -a "$out/failed"; }
    echo "== $1 took $((SECONDS - began)) s" | tee -a "$out/$1.log"
}

start() { # NAME COMMAND...: the same in the background; the output goes to the log only
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-4}" ]; do wait -n; done
    run "$@" >/dev/null &
}

train() { # NAME BENCHMARK ARGUMENTS...: a run, resumed if it exists
    local folder=$out/$1 arguments=("${@:3}")
    if [ -n "${TINY:-}" ]; then
        arguments=(--preset quick ${DATASET:+--dataset "$DATASET"})
    elif [ -e "$folder/config.json" ]; then
        arguments+=(--resume)
    fi
    start "$1" "$python" -m advnets.bench "$2" "${arguments[@]}" --out "$folder"
}

after() { # FILE COMMAND...: runs the command as soon as the file exists
    until [ -e "$1" ]; do sleep 2; done
    "${@:2}"
}

checks() {
    tests=(tests/bench/test_speed.py)
    [ -n "${TINY:-}" ] || tests+=(tests/core/test_algorithms.py tests/core/test_layers.py
        tests/core/test_convolutions.py tests/evaluation/test_parzen.py
        tests/bench/test_precision.py)
    # The tolerances are for float32; the default on a GPU is TF32.
    run checks env JAX_DEFAULT_MATMUL_PRECISION=highest "$python" -m pytest -q -p no:cacheprovider "${tests[@]}"
}

times() {
    if [ -n "${TINY:-}" ]; then
        run times "$python" -m advnets.bench speed --tiny --rounds 1 --out "$out/speed" \
            ${ONLY:+--only $ONLY}
        return
    fi
    run times "$python" -m advnets.bench speed --out "$out/speed" ${ONLY:+--only $ONLY}
    [ -z "${ONLY:-}" ] || return
    # Ten million samples, drawn on the fly, at all ten bandwidths.
    run parzen-10m "$python" bench/speed/parzen.py --sides --rounds 1 --curve 1000000 10000000 \
        --curve-points 11000 --out "$out/speed/parzen-10m.json"
    # JAX's default precision on a GPU.
    run times-tf32 "$python" bench/speed/updates.py --tf32 --out "$out/speed/mnist-tf32.json"
}

trains() { # the paper's MNIST experiment in both orders, also with an average; the tuned recipes
    for order in alternating simultaneous; do
        train "mnist-$order" mnist --order "$order" --seeds 5
        train "mnist-$order-average" mnist --order "$order" --average 0.999 --seeds 5
    done
    train mnist-tuned mnist-tuned --seeds 10
    train cifar10-tuned cifar10-tuned --epochs 50
}

table1() {
    for seed in $seeds; do
        for system in gsn-500 dbn cae vae; do
            train "$system-seed-$seed" "$system" --seed "$seed"
        done
    done
    train gsn-all-rows gsn --all-rows --epochs 60 --evaluate-every 5
}

section7() {
    train mnist-conditional mnist-conditional --seeds 5
    train mnist-conditional-unit-cube mnist-conditional --seeds 5 --prior unit-cube
    train mnist-conditional-concatenated mnist-conditional --seeds 5 --architecture concatenated
    train mnist-inpainting mnist-inpainting --seeds 3
    train mnist-inpainting-60 mnist-inpainting --seeds 3 --epochs 60
    train mnist-inpainting-adversarial mnist-inpainting --seeds 3 --energy 0
    local run=$out/mnist-alternating/seed-0
    for command in "features $run --labels 100 1000 50000" "inference $run"; do
        [ -z "${TINY:-}" ] || break
        # shellcheck disable=SC2086
        start "${command%% *}" after "$run/results.json" "$python" -m advnets.bench $command
    done
}

few_labels() { # ten draws of labels in one program, on the published schedule
    train mnist-few-labels mnist-few-labels --seeds 10 --epochs 360 --evaluate-every 30 \
        --learning-rate 0.003 --decay 0.9999
}

long() {
    train cifar10 cifar10 --epochs "${CIFAR_EPOCHS:-100}"
    train cifar10-conv cifar10-conv --epochs "${CIFAR_EPOCHS:-100}"
    train gsn gsn --evaluate-every 50
}

precision() { # the likelihood in float32, TF32 and bfloat16, over seeds
    size=(--benchmark mnist --seeds 8)
    [ -z "${TINY:-}" ] || size=(--benchmark digits --seeds 2 --epochs 1)
    start precision "$python" bench/precision.py "${size[@]}" --out "$out/precision"
}

if [ $# -eq 0 ]; then set -- checks times precision trains; fi
for part in "$@"; do
    case $part in checks | times) wait ;; esac
    "$part"
done
wait
[ ! -e "$out/failed" ]
