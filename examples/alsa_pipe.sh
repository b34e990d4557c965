#!/usr/bin/env bash
# Microphone to loudspeaker through the network: alsa_pipe.sh [INPUT [OUTPUT [edge-se stream's options]]]
# `arecord -L` and `aplay -L` list devices; plughw:1,0 is often a USB microphone. Use headphones.
set -euo pipefail

input=${1:-default}
output=${2:-default}
shift $(($# < 2 ? $# : 2))

# Small periods keep the delay low: 256 samples are one hop of 16 ms.
format=(-q -t raw -f S16_LE -r 16000 -c 1 --period-size=256 --buffer-size=2048)
arecord -D "$input" "${format[@]}" | edge-se stream "$@" | aplay -D "$output" "${format[@]}"
