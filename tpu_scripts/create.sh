#!/usr/bin/env bash
# Asks for a TPU: a queued resource, which waits in line until one is free. Billing begins when it
# is ACTIVE (status.sh) and ends with delete.sh.
#
#   create.sh --project P --zone Z --name N --accelerator-type v5litepod-8 \
#     --runtime-version v2-alpha-tpuv5-lite [--spot] [--dry-run] [-- MORE GCLOUD FLAGS]
#
# Each option may be a variable instead: BOOSTLM_PROJECT, BOOSTLM_ZONE, ...
set -euo pipefail
spot=
source "${BASH_SOURCE%/*}/common.sh"
read_values project zone name accelerator-type runtime-version -- "$@"

cloud compute tpus queued-resources create "$name" --node-id="$name" \
  --project="$project" --zone="$zone" --accelerator-type="$accelerator_type" \
  --runtime-version="$runtime_version" ${spot:+"$spot"} "${rest[@]}"
