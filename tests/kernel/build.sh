#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The guests of the test of `populated` in kernels: Debian's cloud kernels of each suite, and an initramfs of one program.
# Makes build/kernel/SUITE/{vmlinux,initramfs.cpio.gz}.
#
#   tests/kernel/build.sh           all
#   tests/kernel/build.sh SUITE     that one

# 12, whose kernel has no cachestat() and no PAGEMAP_SCAN, and 13
SUITES=(bookworm trixie)
# Both of swap: a disk, and a RAM disk
MODULES=(virtio_pci virtio_blk brd)

if (($# == 0)); then
    for suite in "${SUITES[@]}"; do
        "$0" "$suite" || exit
    done
    exit
fi

SKIP_BALLOON_SUITE=$1
# shellcheck source=scripts/kernel.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/kernel.sh"

need_packages build-essential pkgconf libglib2.0-dev dpkg-dev cpio xz-utils zstd

OUT=$BUILD/kernel/$SUITE
OURS=$ROOT/qemu/overlay
SOURCES=("$ROOT/tests/kernel/kernel-init.c" "$OURS"/migration/skip/populated{,-file,-tables}.c)
mkdir -p "$OUT"
exec 8>"$OUT/lock"
flock 8
source=$(kernel_deb)

# Anything that the result depends on, by content where it is ours.
inputs=$(printf '%s\n' "$source" &&
    sha256sum "${SOURCES[@]}" "$OURS"/migration/skip/populated*.h "$ROOT"/tests/unit/include/qemu/osdep.h "$ROOT"/{tests/kernel/build,scripts/kernel}.sh)
if [[ -e $OUT/initramfs.cpio.gz && $(cat "$OUT/inputs" 2>/dev/null || true) == "$inputs" ]]; then
    exit 0
fi
say "making the test of kernels from $(basename "$source")"
rm -f "$OUT/inputs"
kernel_open "$source" "$OUT/kernel"
initramfs_begin "$OUT/initramfs" "${MODULES[@]}"
# GLib is linked statically, of which the linker says that it would look users up in vain.
read -ra glib < <(pkg-config --cflags --static --libs glib-2.0)
logged "kernel-init-$SUITE" gcc -static -O2 -std=gnu11 -D_GNU_SOURCE -UNDEBUG -Wall -Wextra -Werror \
    -I "$ROOT/tests/unit/include" -I "$OURS" -o "$OUT/initramfs/init" "${SOURCES[@]}" "${glib[@]}"
vmlinux_of "$VMLINUZ" "$OUT/vmlinux"
initramfs_end "$OUT/initramfs" "$OUT/initramfs.cpio.gz"
rm -rf "$KERNEL"
printf '%s\n' "$inputs" >"$OUT/inputs"
