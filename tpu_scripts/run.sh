#!/usr/bin/env bash
# Starts a boostlm command on every worker of a TPU, after a look at each of them. It goes on when
# ssh ends; its output goes to the bucket every minute. The same command goes on with a run.
#
#   run.sh --project P --zone Z --name N --bucket gs://B [--dry-run] \
#     -- run gs://B/configs/gsm8k.py --run-dir gs://B/runs/gsm8k
#
# Each option may be a variable instead: BOOSTLM_PROJECT, BOOSTLM_BUCKET, ...
set -euo pipefail
source "${BASH_SOURCE%/*}/common.sh"
read_values project zone name bucket -- "$@"
((${#rest[@]})) || fail "give the boostlm command after --, such as: -- run --run-dir gs://B/runs/one"
[[ $bucket == gs://?* ]] || fail "--bucket '$bucket' does not begin with gs://"

if [[ $dry_run ]]; then
  on_workers check
else
  found=$(on_workers check) || {
    echo "$found"
    fail "not started: put right what the workers say above"
  }
  echo "$found"
  installed=$(sed -n 's/^ok: worker [0-9]*: //p' <<<"$found" | sort -u)
  [[ $installed ]] || fail "not started: no worker answered"
  (($(wc -l <<<"$installed") == 1)) ||
    fail "not started: the workers have different packages installed: run setup.sh again"
fi
on_workers start "${bucket%/}/logs/$name" "${rest[@]}"
[[ $dry_run ]] || echo "started; see status.sh, and ${bucket%/}/logs/$name/"
