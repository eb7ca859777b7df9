#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The benchmark, into build/bench. Arguments are those of `skip-balloon bench`.

# shellcheck source=scripts/debian.sh
source "$(dirname "${BASH_SOURCE[0]}")/debian.sh"
# shellcheck source=scripts/huge-pages.sh
source "$ROOT/scripts/huge-pages.sh"

# Two guests of 2 GiB
HUGE_PAGES=2064

need_packages gnuplot-nox
if [[ ! " $* " =~ " --"(list|compare)" " ]]; then
    # Where memory is in pieces the host looks for huge pages at each fault, and all migrations take several times as
    # long.
    if [[ -w /proc/sys/vm/compact_memory ]]; then
        sync
        echo 3 >/proc/sys/vm/drop_caches
        echo 1 >/proc/sys/vm/compact_memory
    fi
    # Memory lent to huge pages is missing elsewhere, so only to who measures hugetlbfs.
    if [[ " $* " =~ (full|hugetlb) && ! " $* " =~ device ]]; then
        trap give_back_huge_pages EXIT
        lend_huge_pages "$HUGE_PAGES"
    fi
fi
cd "$ROOT"
rc=0
build/bin/skip-balloon bench --output build/bench "$@" || rc=$?
exit "$rc"
