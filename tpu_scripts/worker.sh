#!/usr/bin/env bash
# Runs on each worker; the other scripts call it. It needs ~/boostlm-tpu, which setup.sh makes.
#
#   worker.sh setup PACKAGE PINS     install, and write down on which VM and what
#   worker.sh check                  is this the environment that setup made, and is the TPU free?
#   worker.sh start LOGS ARGUMENT... boostlm ARGUMENT... as a systemd unit, with ./environment
#   worker.sh status | stop
set -euo pipefail
cd "$(dirname "$0")"
root=${BOOSTLM_WORKER_ROOT-} # a stand-in for / in tests
lock=$root/tmp/libtpu_lockfile
uv_version=0.13.9
unit=boostlm

metadata() { # a value of this VM's, or nothing
  curl -sf -H 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/$1" || true
}
worker=$(metadata attributes/agent-worker-number)
worker=${worker:-0}

problem() {
  echo "worker $worker: $*" >&2
  problems=1
}

installed() { # one line for what is installed, whatever the order
  printf '%s versions %s\n' "$(sed -n 's/^package=//p' stamp)" \
    "$(.uv/bin/uv pip freeze -q --python .venv/bin/python | LC_ALL=C sort | sha256sum | cut -c1-16)"
}

setup() {
  local package=$1 pins=$2/${1##*[/@]}.txt constraints=() what
  systemctl is-active --quiet $unit && {
    problem "boostlm is running: stop.sh first"
    exit 1
  }
  rm -rf stamp .venv
  what="boostlm[tpu] @ $package"
  if [[ $package == gs://* ]]; then
    gcloud storage cp "$package" .
    what="./${package##*/}[tpu]"
  fi
  # The images' own Python is older than 3.11; uv brings one.
  [[ -x .uv/bin/uv ]] || python3 -m pip install -q --target .uv "uv==$uv_version"
  .uv/bin/uv venv -q --python 3.12 .venv
  if gcloud storage cp "$pins" pins.txt; then
    constraints=(--constraint pins.txt)
  fi
  .uv/bin/uv pip install -q --python .venv/bin/python "${constraints[@]}" "$what"
  if ((${#constraints[@]} == 0)) && [[ $worker == 0 ]]; then
    .uv/bin/uv pip freeze -q --python .venv/bin/python | grep -v '^boostlm' >pins.txt
    gcloud storage cp pins.txt "$pins"
  fi
  printf 'instance=%s\npackage=%s\n' "$(metadata id)" "$package" >stamp
  printf 'installed=%s\n' "$(installed)" >>stamp
  echo "ok: worker $worker: $(installed)"
}

check() {
  local holders pid problems=0
  if [[ ! -f stamp ]]; then
    problem "boostlm is not set up on this VM (it is new, or setup.sh did not end): run setup.sh"
  elif [[ $(sed -n 's/^instance=//p' stamp) != "$(metadata id)" ]]; then
    problem "this was set up on another VM: run setup.sh again"
  elif [[ $(sed -n 's/^installed=//p' stamp) != "$(installed)" ]]; then
    problem "packages were changed since setup.sh: run setup.sh again"
  fi
  holders=$(tpu_holders)
  if systemctl is-active --quiet $unit; then
    problem "boostlm is running already: see status.sh; stop.sh ends it"
  elif [[ $holders ]]; then
    for pid in $holders; do
      problem "process $pid ($(ps -o user=,args= -p "$pid" || true)) holds the TPU: end it there"
    done
  elif [[ -e $lock && ! -O $lock ]]; then
    problem "$lock is another user's, left by an earlier process: stop.sh removes it"
  fi
  ((problems == 0)) || exit 1
  echo "ok: worker $worker: $(installed)"
}

tpu_holders() { # processes, of any user, that have the TPU open
  sudo find "$root"/proc/[0-9]*/fd \( -lname '/dev/accel*' -o -lname '/dev/vfio/[0-9]*' \) \
    2>/dev/null | sed "s|^$root/proc/\([0-9]*\)/.*|\1|" | sort -un || true
}

start() {
  local log
  log=$1/$(date -u +%Y%m%dT%H%M%SZ)-worker$worker.log
  shift
  # A unit's environment is clean: variables of an earlier life do not reach it. It stops before the
  # network does, so the bucket can be written to when the VM is shut down, in 30 s on a spot VM.
  sudo systemd-run --quiet --collect --unit=$unit --uid="$(id -u)" --gid="$(id -g)" \
    --property=After=network-online.target --property=KillMode=mixed \
    --property=TimeoutStopSec=25 --property=WorkingDirectory="$PWD" --setenv=HOME="$HOME" --setenv=PATH="$PATH" \
    --property=EnvironmentFile=-"$PWD/environment" \
    bash "$PWD/worker.sh" work "$log" "${@//\$/\$\$}" # systemd reads $$ as $
  echo "worker $worker: started; $log"
}

work() { # what the unit runs: boostlm, and its output to the bucket every minute
  local log=$1 status=0 child upload='' pause=''
  shift
  .venv/bin/boostlm "$@" >run.log 2>&1 &
  child=$!
  trap 'kill -TERM $child 2>/dev/null || true' TERM
  while kill -0 $child 2>/dev/null; do
    if ! kill -0 $pause 2>/dev/null; then
      gcloud storage cp -q run.log "$log" 2>/dev/null &
      upload=$!
      sleep "${BOOSTLM_LOG_SECONDS-60}" &
      pause=$!
    fi
    wait -n || true # for any of the three, or a signal
  done
  wait $child || status=$?
  kill $pause 2>/dev/null || true
  wait $upload || true # it may not overtake the last one
  echo "boostlm ended with status $status" >>run.log
  gcloud storage cp -q run.log "$log"
  exit $status
}

status() {
  local state=stopped
  ! systemctl is-active --quiet $unit || state=running
  echo "worker $worker: boostlm is $state"
  [[ ! -f run.log ]] || tail -n 5 run.log | sed "s/^/worker $worker: /"
}

stop() {
  if systemctl is-active --quiet $unit; then
    sudo systemctl stop $unit
    echo "worker $worker: stopped"
  else
    echo "worker $worker: boostlm was not running"
  fi
  [[ ! -e $lock || $(tpu_holders) ]] || sudo rm -f "$lock"
}

command=$1
shift
"$command" "$@"
