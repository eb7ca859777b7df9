#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the report is drawn with, and a browser to test it in. Without them its tests skip themselves, so that a user who
# may not install packages can still run the others.

# shellcheck source=scripts/debian.sh
source "$(dirname "${BASH_SOURCE[0]}")/debian.sh"

if ((EUID == 0)); then
    need_packages gnuplot-nox chromium
else
    for tool in gnuplot chromium; do
        [[ -n $(type -P "$tool" || true) ]] || say "there is no $tool: tests of the report will skip themselves"
    done
fi
