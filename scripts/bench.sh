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
# Memory lent to them is missing elsewhere, so only for who measures hugetlbfs.
if [[ " $* " =~ (full|hugetlb) && ! " $* " =~ (--list|--compare|device) ]]; then
    trap give_back_huge_pages EXIT
    lend_huge_pages "$HUGE_PAGES"
fi
cd "$ROOT"
rc=0
build/bin/skip-balloon bench --output build/bench "$@" || rc=$?
exit "$rc"
