#!/usr/bin/env bash
# Checks, times and trains on a machine with an NVIDIA GPU that has no network.
#
#     OUT=results bash bench/gpu.sh [checks] [times] [trains] [precision]     (all unless told)
#
# It expects a python3 with JAX for CUDA, Equinox, Optax and PyTorch. Wheels of what else advnets
# needs, and of pytest and hypothesis, may be in the folder WHEELS (.wheels), and the data, as the
# Hub has them, in ADVNETS_DATA (.data). ONLY="mnist curves" times only those. Set TINY=1 to try all
# of it on a CPU with narrow players.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/gpu}
export ADVNETS_DATA=${ADVNETS_DATA:-$PWD/.data}
export PYTHONUNBUFFERED=1 XLA_PYTHON_CLIENT_PREALLOCATE=false
python=${PYTHON:-python3}
failed=0
mkdir -p "$out"

wheels=${WHEELS:-.wheels}
site=$(mktemp -d)
if compgen -G "$wheels/*.whl" >/dev/null; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir \
        --target "$site" "$wheels"/*.whl || exit 1
fi
# The package itself is not installed, but results are to say its version.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
mkdir -p "$site/advnets-$version.dist-info"
printf 'Metadata-Version: 2.1\nName: advnets\nVersion: %s\n' "$version" \
    >"$site/advnets-$version.dist-info/METADATA"
export PYTHONPATH=$PWD/src:$site${PYTHONPATH:+:$PYTHONPATH}
"$python" -c 'import advnets, jax, torch; print(jax.devices(), torch.__version__)' || exit 1

run() { # NAME COMMAND...: its output goes to a log too, and a failure does not stop the rest
    echo "== $1"
    local began=$SECONDS
    "${@:2}" 2>&1 | tee "$out/$1.log" || { echo "== $1 failed"; failed=1; }
    echo "== $1 took $((SECONDS - began)) s" | tee -a "$out/$1.log"
}

checks() {
    tests=(tests/bench/test_speed.py)
    [ -n "${TINY:-}" ] || tests+=(tests/core/test_algorithms.py tests/core/test_layers.py
        tests/core/test_convolutions.py tests/evaluation/test_parzen.py
        tests/bench/test_precision.py)
    # Tolerances are those of float32; the default there is TF32.
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
    # The precision that JAX takes by default there.
    run times-tf32 "$python" bench/speed/updates.py --tf32 --out "$out/speed/mnist-tf32.json"
}

trains() {
    size=()
    [ -z "${TINY:-}" ] || size=(--epochs 2 --evaluate-every 1 --num-samples 100
        --generator.hidden-sizes 16 --discriminator.units 8)
    name=mnist
    [ -z "${TINY:-}" ] || name=digits
    for order in alternating simultaneous; do
        folder=$out/$name-$order resume=()
        [ ! -e "$folder/metrics.jsonl" ] || resume=(--resume)
        run "$name-$order" "$python" -m advnets.bench "$name" --order "$order" \
            "${size[@]}" "${resume[@]}" --out "$folder"
    done
}

precision() { # the likelihood in float32, TF32 and bfloat16, over seeds
    size=(--benchmark mnist --seeds 8)
    [ -z "${TINY:-}" ] || size=(--benchmark digits --seeds 2 --epochs 1)
    run precision "$python" bench/precision.py "${size[@]}" --out "$out/precision"
}

if [ $# -eq 0 ]; then set -- checks times trains precision; fi
for part in "$@"; do "$part"; done
exit "$failed"
