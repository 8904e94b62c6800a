#!/usr/bin/env bash
# Stops boostlm on every worker; what it committed stays, and run.sh goes on with it. The TPU stays,
# and is billed, until delete.sh.
#
#   stop.sh --project P --zone Z --name N [--dry-run]
#
# Each option may be a variable instead: BOOSTLM_PROJECT, BOOSTLM_ZONE, BOOSTLM_NAME.
set -euo pipefail
source "${BASH_SOURCE%/*}/common.sh"
read_values project zone name -- "$@"
((${#rest[@]} == 0)) || fail "takes nothing after --"
on_workers stop
