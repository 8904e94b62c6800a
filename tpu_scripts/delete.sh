#!/usr/bin/env bash
# Deletes a TPU and its VMs, after a question. The bucket is not touched.
#
#   delete.sh --project P --zone Z --name N [--dry-run]
#
# BOOSTLM_PROJECT and BOOSTLM_ZONE may stand in for the options; the name must be given.
set -euo pipefail
source "${BASH_SOURCE%/*}/common.sh"
unset BOOSTLM_NAME
read_values project zone name -- "$@"
((${#rest[@]} == 0)) || fail "takes nothing after --"

cloud compute tpus queued-resources delete "$name" --force --project="$project" --zone="$zone"
