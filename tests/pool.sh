#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced by tests/run and tests/qemu-own/run: programs that run a few at a time. Whoever sources it sets TMPDIR, and
# defines
#
#   pool_ended I RC SECONDS TIME   the program that was started as I has ended so, after SECONDS; TIME is what processors
#                                  have worked for it, in seconds, or ? where it was killed
#   pool_progress                  to be called now and then while programs run

JOBS=${JOBS:-$(nproc)}
JOBS=$((JOBS < 4 ? JOBS : 4))
# Programs that wait hold no processor: while one is idle there may be so many. With two more, on a host that is busy
# otherwise, migrations end before a test has looked.
JOBS_MAX=$((JOBS + 1))

declare -A running=() started=() # I, and when, by process
declare -A beside=() # I of those that take no room, since they wait nearly all the time
ticker=
# On a terminal, what progress shows is written over and over again.
[[ -t 2 ]] && tty=1 || tty=0
shown=0

# pool_start I SECONDS PROGRAM...: with the caller's redirections.
pool_start() {
    # The shell in between turns a death by a signal, which bash would comment on, into a status, and knows what the
    # program and all that this has waited for took.
    # shellcheck disable=SC2016
    timeout --kill-after=10 "$2" sh -c '"$@"; rc=$?; times >"$0"; exit $rc' "$TMPDIR/times-$1" "${@:3}" </dev/null &
    running[$!]=$1
    started[$!]=$SECONDS
}

# processor_time I: of what `times` has said, "0m1.5s 0m0.5s" for the shell and the same for what it has waited for.
processor_time() {
    local file=$TMPDIR/times-$1
    if [[ -s $file ]]; then
        tr ms "  " <"$file" | awk '{ sum += $1 * 60 + $2 + $3 * 60 + $4 } END { printf "%.0f\n", sum }'
        rm "$file"
    else
        echo "?"
    fi
}

# pool_reap: what has ended. wait -n may pass over one that ended before it was called, hence the look at each.
pool_reap() {
    local pid rc
    for pid in "${!running[@]}"; do
        ! kill -0 "$pid" 2>/dev/null || continue
        rc=0
        wait "$pid" || rc=$?
        ((!tty)) || printf '\r\033[K' >&2
        pool_ended "${running[$pid]}" "$rc" $((SECONDS - started[$pid])) "$(processor_time "${running[$pid]}")"
        unset "running[$pid]" "started[$pid]"
    done
}

# look_at_processors: sets idle to how much of a processor nobody used since this was asked last, in percent.
idle=0 idle_ticks=0 idle_since=0
look_at_processors() {
    local -a cpu
    local now
    now=$(date +%s%N)
    # "cpu user nice system idle iowait ..", in hundredths of a second
    read -ra cpu </proc/stat
    idle=$(((cpu[4] + cpu[5] - idle_ticks) * 1000000000 / (now - idle_since)))
    idle_ticks=$((cpu[4] + cpu[5])) idle_since=$now
}

# pool_tick: wait until a program ends, but for no longer than 2 seconds.
pool_tick() {
    [[ -n $ticker ]] || { sleep 2 & ticker=$!; }
    wait -n "${!running[@]}" "$ticker" || true
    if ! kill -0 "$ticker" 2>/dev/null; then
        ticker=
        look_at_processors
        if ((tty || SECONDS - shown >= 30)); then
            pool_progress
            shown=$SECONDS
        fi
    else
        idle=0
    fi
    pool_reap
}

# pool_taken: sets taken to how many of those that run take room.
taken=0
pool_taken() {
    local i
    taken=0
    for i in "${running[@]}"; do
        [[ -n ${beside[$i]:-} ]] || taken=$((taken + 1))
    done
}

# pool_wait_for_room: until one more may run.
pool_wait_for_room() {
    pool_reap
    pool_taken
    while ((taken >= JOBS && (idle < 50 || taken >= JOBS_MAX))); do
        pool_tick
        pool_taken
    done
    idle=0
}

# pool_down_to N: until no more than N of them run.
pool_down_to() {
    pool_reap
    while ((${#running[@]} > $1)); do
        pool_tick
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
