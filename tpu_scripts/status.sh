#!/usr/bin/env bash
# Reports whether the TPU is there, and what boostlm does on each of its workers.
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
  ACTIVE)
    on_workers status || {
      code=$?
      # 127: there is no worker.sh to run
      ((code != 127)) || echo "setup.sh has not been run on this TPU yet." >&2
      exit "$code"
    }
    ;;
  CREATING | ACCEPTED | PROVISIONING | WAITING_FOR_RESOURCES)
    echo "The request waits for a TPU; nothing is billed yet."
    ;;
  SUSPENDING | SUSPENDED)
    echo "The TPU was preempted or stopped, and does not come back. Run delete.sh, create.sh and"
    echo "setup.sh; the same run.sh command then continues from the files in the bucket."
    ;;
  DELETING) echo "The TPU is being deleted. Wait until it is gone before you run create.sh." ;;
  FAILED) echo "Google Cloud could not give the TPU. Run delete.sh, then try another zone or --spot." ;;
  '' | *)
    echo "This script does not know this state, so the TPU may be billed. Look at it with"
    echo "  gcloud $(quoted compute tpus queued-resources describe "$name" --project="$project" --zone="$zone")"
    ;;
esac
