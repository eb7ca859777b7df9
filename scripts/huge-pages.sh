#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced: huge pages of the host for those who need some, where we may lend them.

HUGE=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
huge_before=

# lend_huge_pages N: have N pages of 2 MiB, if that is possible. Whoever calls it gives them back at its end.
lend_huge_pages() {
    [[ -w $HUGE && $(<"$HUGE") -lt $1 ]] || return 0
    huge_before=$(<"$HUGE")
    echo "$1" 2>/dev/null >"$HUGE" || true
}
give_back_huge_pages() { [[ -z $huge_before ]] || echo "$huge_before" >"$HUGE"; }
