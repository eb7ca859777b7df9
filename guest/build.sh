#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The test guest: Debian's cloud kernel and an initramfs of one static program and the modules that it loads.
# Makes build/guest/{vmlinuz,vmlinux,initramfs.cpio.gz,kernel.version}.
#
# SKIP_BALLOON_KERNEL=linux-image-....deb|DIRECTORY takes that kernel; the directory is an unpacked package (boot, lib).

# shellcheck source=scripts/kernel.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/kernel.sh"

OUT=$BUILD/guest
# Wanted, as far as they are modules in this kernel; what they depend on comes along.
MODULES=(virtio_pci virtio_blk virtio_balloon)

need_packages build-essential dpkg-dev cpio xz-utils zstd

mkdir -p "$OUT"
exec 8>"$OUT/lock"
flock 8
source=${SKIP_BALLOON_KERNEL:-$(kernel_deb)}
[[ -e $source ]] || die "the kernel $source does not exist" "SKIP_BALLOON_KERNEL names a linux-image package or directory"
source=$(realpath "$source")

# Anything that the result depends on, by content where it is ours.
inputs=$(printf '%s\n' "$source" && sha256sum "$ROOT"/guest/{*.[ch],build.sh} "$ROOT/scripts/kernel.sh")
if [[ -e $OUT/initramfs.cpio.gz && $(cat "$OUT/inputs" 2>/dev/null || true) == "$inputs" ]]; then
    exit 0
fi
say "making the guest from $(basename "$source")"
rm -f "$OUT/inputs"
kernel_open "$source" "$OUT/kernel"
initramfs_begin "$OUT/initramfs" "${MODULES[@]}"
logged guest-init gcc -static -O2 -Wall -Wextra -Werror -o "$OUT/initramfs/init" "$ROOT"/guest/*.c
cp "$VMLINUZ" "$OUT/vmlinuz"
vmlinux_of "$VMLINUZ" "$OUT/vmlinux"
printf '%s\n' "${VMLINUZ##*/vmlinuz-}" >"$OUT/kernel.version"
initramfs_end "$OUT/initramfs" "$OUT/initramfs.cpio.gz"
printf '%s\n' "$inputs" >"$OUT/inputs"
[[ -d $source ]] || rm -rf "$KERNEL"
