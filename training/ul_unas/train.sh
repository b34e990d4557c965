#!/bin/sh
# Train UL-UNAS from scratch: train.sh DATA OUT [--resume] [--steps N]
set -e
data=$1 out=$2
shift 2
exec "$(dirname "$0")/../train.sh" "$data" "$out" --architecture ul_unas --steps 20000 \
    --seed 21 --batch-size 8 --seconds 3 --learning-rate 2e-3 --warmup-steps 500 \
    --perceptual-weight 5 --validate-every 250 --validation-mixtures 56 --patience 1000 "$@"
