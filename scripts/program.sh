#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The program: build/bin/skip-balloon.

# shellcheck source=scripts/debian.sh
source "$(dirname "${BASH_SOURCE[0]}")/debian.sh"

need_packages build-essential pkgconf meson ninja-build libglib2.0-dev libjson-glib-dev libcairo2-dev
# For --domain, which the program does without if it must.
((EUID)) || need_packages libvirt-dev
cd "$ROOT"
[[ -e build/meson/build.ninja ]] || logged program-configure meson setup build/meson
NINJA_STATUS='[%f/%t] ' logged program ninja -C build/meson
mkdir -p build/bin
# By rename: one that runs is left alone.
cmp -s build/meson/skip-balloon build/bin/skip-balloon || {
    cp build/meson/skip-balloon build/bin/skip-balloon.tmp
    mv build/bin/skip-balloon.tmp build/bin/skip-balloon
}
