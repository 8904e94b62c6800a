# Sourced by the scripts beside it: their values, and gcloud.
# shellcheck shell=bash

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || {
  echo "this needs bash 4.4 or newer, and this is $BASH_VERSION" >&2
  exit 2
}

fail() {
  echo "${0##*/}: $*" >&2
  exit 2
}

usage() { # the comment at the top of the script
  sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
}

# read_values NAME... -- ARGUMENT...
#
# Sets $NAME (a dash becomes _) from the option --NAME or from BOOSTLM_NAME; one without either is
# asked for. --dry-run sets $dry_run. What follows -- on the command line is left in the array $rest.
read_values() {
  local names=() variable word value missing=()
  while [[ $1 != -- ]]; do
    names+=("$1")
    variable="BOOSTLM_${1//-/_}"
    variable=${variable^^}
    printf -v "${1//-/_}" %s "${!variable-}"
    shift
  done
  shift
  dry_run='' rest=()
  while (($#)); do
    word=$1
    shift
    case $word in
      --) rest=("$@") && break ;;
      --help | -h) usage && exit ;;
      --dry-run) dry_run=yes ;;
      --spot)
        [[ -v spot ]] || fail "--spot is not an option: see --help"
        spot=--spot
        ;;
      --*)
        if [[ $word == *=* ]]; then
          value=${word#*=}
        else
          (($#)) || fail "$word needs a value"
          value=$1
          shift
        fi
        word=${word#--} word=${word%%=*}
        [[ " ${names[*]} " == *" $word "* ]] || fail "--$word is not an option: see --help"
        printf -v "${word//-/_}" %s "$value"
        ;;
      *) fail "what is '$word'? Options begin with --; see --help" ;;
    esac
  done
  for word in "${names[@]}"; do
    variable=${word//-/_}
    [[ ${!variable} ]] || missing+=("--$word (or BOOSTLM_${variable^^})")
  done
  ((${#missing[@]} == 0)) || fail "missing:$(printf '\n  %s' "${missing[@]}")"
}

# The words as one line that a shell reads back as the same words.
quoted() {
  local word line=''
  for word; do
    [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word=${word@Q}
    line+=" $word"
  done
  printf '%s' "${line# }"
}

# Runs gcloud; with --dry-run prints the command and runs nothing.
cloud() {
  if [[ $dry_run ]]; then
    printf 'gcloud %s\n' "$(quoted "$@")"
  else
    gcloud "$@"
  fi
}

# Runs worker.sh with these words on every worker of $name at once; fails if it fails on one.
on_workers() {
  cloud compute tpus tpu-vm ssh "$name" --worker=all --project="$project" --zone="$zone" \
    --command="bash boostlm-tpu/worker.sh $(quoted "$@")"
}
