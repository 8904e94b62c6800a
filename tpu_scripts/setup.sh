#!/usr/bin/env bash
# Installs boostlm on every worker of a TPU, alike; a few minutes. Safe to repeat.
#
#   setup.sh --project P --zone Z --name N --bucket gs://B --package PACKAGE [--dry-run]
#
# PACKAGE is a wheel in the bucket (gs://B/boostlm-0.1.0-py3-none-any.whl) or a full commit
# (git+https://HOST/boostlm@0123...). The first set-up of a package keeps the versions of everything
# that it installed in gs://B/pins/; later ones, on whatever VM, install those same versions.
# Each option may be a variable instead: BOOSTLM_PROJECT, BOOSTLM_PACKAGE, ...
set -euo pipefail
here=${BASH_SOURCE%/*}
source "$here/common.sh"
read_values project zone name bucket package -- "$@"
((${#rest[@]} == 0)) || fail "takes nothing after --"
[[ $package =~ ^gs://.+\.whl$ || $package =~ ^git\+.+@[0-9a-f]{40}$ ]] ||
  fail "--package '$package' is not pinned: name a wheel (gs://....whl) or a full commit (git+https://...@40 hex digits)"
[[ $bucket == gs://?* ]] || fail "--bucket '$bucket' does not begin with gs://"

cloud compute tpus tpu-vm ssh "$name" --worker=all --project="$project" --zone="$zone" \
  --command='mkdir -p boostlm-tpu'
cloud compute tpus tpu-vm scp "$here/worker.sh" "$name:boostlm-tpu/worker.sh" --worker=all \
  --project="$project" --zone="$zone"
on_workers setup "$package" "${bucket%/}/pins"
