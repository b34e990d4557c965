#!/bin/sh
# Train UL-UNAS, the fourth run: train.sh DATA OUT (--init CHECKPOINT ... | --resume) [--steps N]
# DATA has the folders clean, noise, more/clean and more/noise; the calib_* files are left out.
set -e
data=$1 out=$2
shift 2
export OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592
exec edge-se train --architecture ul_unas --out "$out" --steps 8000 \
    --clean "$data/clean" "$data/more/clean" --noise "$data/noise" "$data/more/noise" \
    --pattern '[!c]*' 'c[!a]*' 'ca[!l]*' \
    --validation-pattern 'train_ls-6*' 'train_vctk-p226*' 'train_*wind1*' 'train_*drone-g*' \
    'train_rain_modern*' 'train_night_Noise*' 'train_babble_1*' \
    'so762-60*' 'cv-hsb-CV0000[269]*' 'rdh-*' 'keyboard_topre*' 'music_guitar*' \
    'car_engine_vehicle*' 'rain_indoors_rivea0*' 'footsteps_seq_walk_metal*' 'babble_07*' \
    --seed 25 --batch-size 12 --seconds 4 --learning-rate 7e-4 --warmup-steps 300 \
    --accidents 0.05 \
    --outlier-weight 0.5 --si-snr-weight 24 --perceptual-weight 8 \
    --validate-every 500 --validation-mixtures 56 --patience 1000 --threads 1 --workers 1 "$@"
