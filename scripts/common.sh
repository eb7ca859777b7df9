#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced by the other scripts: messages, logs and a progress line.

set -euo pipefail
shopt -s inherit_errexit

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build
LOGS=$BUILD/log
# Outside the clone, so that a second clone neither downloads nor compiles again.
CACHE=${SKIP_BALLOON_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/skip-balloon}
mkdir -p "$LOGS" "$CACHE"

our_version() { sed -nE "s/^ *version: '([^']+)'.*/\1/p" "$ROOT/meson.build"; }

say() { printf '==> %s\n' "$*" >&2; }

# die WHAT [MORE...]: what failed, then why and what to do about it, one line each.
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    (($# == 0)) || printf '       %s\n' "$@" >&2
    ((BASH_SUBSHELL == 0)) || exit 3 # passed on by on_error
    exit 1
}

# A command that failed without a word must not end the script in silence. 3 is die, which has spoken already.
on_error() {
    (($1 == 3)) || printf 'error: %s, line %s: exit code %s from: %s\n' "$2" "$3" "$1" "$4" >&2
    ((BASH_SUBSHELL == 0)) || exit 3
    exit 1
}
set -E
trap 'on_error $? "${BASH_SOURCE[0]}" "$LINENO" "$BASH_COMMAND"' ERR

# Reads the output of ninja; shows [n/total] in place on a terminal, now and then elsewhere.
progress() {
    local label=$1 line tty=0 last=$SECONDS
    [[ -t 2 ]] && tty=1
    while IFS= read -r line; do
        [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
        if ((tty)); then
            printf '\r\033[K    %s [%s/%s]' "$label" "${BASH_REMATCH[@]:1}" >&2
        elif ((SECONDS - last >= 15)); then
            printf '    %s [%s/%s]\n' "$label" "${BASH_REMATCH[@]:1}" >&2
            last=$SECONDS
        fi
    done
    ((!tty)) || printf '\r\033[K' >&2
}

# logged NAME COMMAND...: everything it prints goes to build/log/NAME.log; the end of it is shown on failure.
logged() {
    local name=$1 rc
    local log=$LOGS/$1.log
    shift
    # The subshell turns pipefail's answer into a number without leaving the script.
    rc=0
    ("$@" 2>&1 </dev/null | tee "$log" | progress "$name") || rc=$?
    if ((rc)); then
        tail -n 30 "$log" >&2
        die "$name failed (exit code $rc)" "command: $*" "full log: $log"
    fi
}
