#!/usr/bin/env bash
# Stands in for curl, sudo, systemctl, systemd-run, uv and python3 on a worker, by its own name; the
# worker's home holds what they say. See tpu_stand_in.py.
set -u

running() { # the unit's process, if it lives
  unit=$(cat "$HOME/unit" 2>/dev/null) && [[ $(cat "/proc/$unit/cmdline" 2>/dev/null | tr -d '\0') ]]
}

case ${0##*/} in
  curl)
    key=${*: -1}
    cat "$HOME/metadata/${key##*/}" 2>/dev/null || exit 22 ;;
  sudo) exec "$@" ;;
  systemctl)
    running || exit 3
    [[ $1 != stop ]] || {
      kill -TERM "$unit"
      for _ in {1..400}; do running || break; sleep 0.05; done # TimeoutStopSec, somewhat shorter
      ! running || kill -KILL -- "-$unit"
    } ;;
  systemd-run)
    dollar='$' environment=("CLOUD=$CLOUD" BOOSTLM_LOG_SECONDS=0.3)
    while [[ $1 == --* ]]; do
      [[ $1 != --setenv=* ]] || environment+=("${1#--setenv=}")
      shift
    done
    env -i "${environment[@]}" setsid "${@//\$\$/$dollar}" </dev/null >/dev/null 2>&1 &
    echo $! >"$HOME/unit" ;;
  python3) mkdir -p .uv/bin && ln -s "${0%/*}/uv" .uv/bin/uv ;;
  uv)
    printf '%s\n' "$@" >"$HOME/uv-${1}-${2}"
    case "$1 $2" in
      "venv -q") mkdir -p .venv/bin && cp "$CLOUD/boostlm" .venv/bin/ ;;
      "pip freeze") cat "$HOME/freeze" ;;
    esac ;;
esac
