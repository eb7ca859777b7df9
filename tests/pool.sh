#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced by tests/run and tests/qemu-own/run: programs that run a few at a time. Whoever sources it defines
#
#   pool_ended I RC   the program that was started as I has ended so
#   pool_progress     to be called now and then while programs run

JOBS=${JOBS:-$(nproc)}
JOBS=$((JOBS < 4 ? JOBS : 4))

declare -A running=() # I by process
ticker=
# On a terminal, what progress shows is written over and over again.
[[ -t 2 ]] && tty=1 || tty=0

# pool_start I SECONDS PROGRAM...: with the caller's redirections.
pool_start() {
    # The shell in between turns a death by a signal, which bash would comment on, into a status.
    # shellcheck disable=SC2016
    timeout --kill-after=10 "$2" sh -c '"$@"; exit $?' sh "${@:3}" </dev/null &
    running[$!]=$1
}

# pool_reap: what has ended. wait -n may pass over one that ended before it was called, hence the look at each.
pool_reap() {
    local pid rc
    for pid in "${!running[@]}"; do
        ! kill -0 "$pid" 2>/dev/null || continue
        rc=0
        wait "$pid" || rc=$?
        ((!tty)) || printf '\r\033[K' >&2
        pool_ended "${running[$pid]}" "$rc"
        unset "running[$pid]"
    done
}

# pool_down_to N: until no more than N of them run.
pool_down_to() {
    pool_reap
    while ((${#running[@]} > $1)); do
        [[ -n $ticker ]] || { sleep $((tty ? 2 : 30)) & ticker=$!; }
        wait -n "${!running[@]}" "$ticker" || true
        if ! kill -0 "$ticker" 2>/dev/null; then
            ticker=
            pool_progress
        fi
        pool_reap
    done
}

# pool_stop: end what still runs. timeout passes the signal on to all that its program has started.
pool_stop() {
    trap '' INT TERM HUP
    kill "${!running[@]}" ${ticker:+"$ticker"} 2>/dev/null || true
    wait
}

# say_progress TEXT: in place on a terminal, where it must not take a second line; as a line of its own elsewhere.
say_progress() {
    if ((tty)); then printf '\r\033[K... %.74s' "$1" >&2; else printf '... %s\n' "$1" >&2; fi
}
