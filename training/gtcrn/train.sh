#!/bin/sh
# Train the built-in GTCRN's decoder to forget what it missed: train.sh DATA OUT [--resume]
set -e
data=$1 out=$2
shift 2
exec "$(dirname "$0")/../train.sh" "$data" "$out" --init gtcrn --only 'decoder.*' --fading-weight 300 \
    --seed 31 --batch-size 8 --seconds 6 --learning-rate 8e-4 --warmup-steps 20 --minutes 20 \
    --perceptual-weight 7 "$@"
