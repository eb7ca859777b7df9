#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced by tests/run and tests/own/run: programs that run a few at a time. Whoever sources it defines
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
    local i=$1
    timeout --kill-after=10 "${@:2}" </dev/null &
    running[$!]=$i
}

# pool_await: until a program has ended.
pool_await() {
    local pid='' rc
    for (( ; ; )); do
        [[ -n $ticker ]] || { sleep $((tty ? 2 : 30)) & ticker=$!; }
        rc=0
        wait -n -p pid "${!running[@]}" "$ticker" || rc=$?
        [[ $pid == "$ticker" ]] || break
        ticker=
        pool_progress
    done
    ((!tty)) || printf '\r\033[K' >&2
    pool_ended "${running[$pid]}" "$rc"
    unset "running[$pid]"
}

# pool_down_to N: until no more than N of them run.
pool_down_to() {
    while ((${#running[@]} > $1)); do pool_await; done
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
