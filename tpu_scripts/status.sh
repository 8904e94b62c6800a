#!/usr/bin/env bash
# Says whether the TPU is there, and what boostlm does on each of its workers.
#
#   status.sh --project P --zone Z --name N [--dry-run]
#
# Each option may be a variable instead: BOOSTLM_PROJECT, BOOSTLM_ZONE, BOOSTLM_NAME.
set -euo pipefail
source "${BASH_SOURCE%/*}/common.sh"
read_values project zone name -- "$@"
((${#rest[@]} == 0)) || fail "takes nothing after --"

describe=(compute tpus queued-resources describe "$name"
  --project="$project" --zone="$zone" '--format=value(state.state)')
if [[ $dry_run ]]; then
  cloud "${describe[@]}"
  on_workers status
  exit
fi
state=$(cloud "${describe[@]}")
echo "$name: $state"
case $state in
  ACTIVE) on_workers status ;;
  SUSPENDING | SUSPENDED)
    echo "It was preempted or stopped, and will not come back: delete.sh, then create.sh, setup.sh"
    echo "and the same run.sh command go on from what is in the bucket."
    ;;
  FAILED) echo "It could not be had: delete.sh, then another zone or --spot." ;;
  *) echo "It waits for a TPU; nothing is billed yet." ;;
esac
