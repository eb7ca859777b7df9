#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The test guest: Debian's cloud kernel and an initramfs of one static program and the modules that it loads.
# Makes build/guest/{vmlinuz,initramfs.cpio.gz,kernel.version}.
#
# SKIP_BALLOON_KERNEL=linux-image-....deb|DIRECTORY takes that kernel; the directory is an unpacked package (boot, lib).

# shellcheck source=scripts/debian.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/debian.sh"

OUT=$BUILD/guest
# Wanted, as far as they are modules in this kernel; what they depend on comes along.
MODULES=(virtio_pci virtio_balloon)

# kernel_deb: the path of the package, newest of the suite.
kernel_deb() {
    local meta image
    if [[ -n ${SKIP_BALLOON_KERNEL:-} ]]; then
        printf '%s\n' "$SKIP_BALLOON_KERNEL"
        return
    fi
    meta=$(deb_fetch linux-image-cloud-amd64)
    image=$(dpkg-deb -f "$meta" Depends | sed -nE 's/.*(linux-image-[^ ,]+).*/\1/p')
    [[ -n $image ]] || die "$meta names no kernel" "rm $meta; then again"
    image=$(deb_fetch "$image") ||
        die "that kernel has left the mirror; a newer one has its place" "rm $meta; then again"
    printf '%s\n' "$image"
}

# module NAME: path of its file, nothing if it is built in or absent. File names may have - where module names have _.
module() { find "$KERNEL" -path "*/lib/modules/*" -name "${1//[-_]/[-_]}.ko*" -print -quit; }

uncompressed() {
    case $1 in
    *.xz) xz -dc "$1" ;;
    *.zst) zstd -qdc "$1" ;;
    *.gz) gzip -dc "$1" ;;
    *) cat "$1" ;;
    esac
}

# add_module NAME: dependencies first, each module once. A package has no modules.dep yet; the modules say it themselves.
add_module() {
    local name=$1 file dep deps
    file=$(module "$name")
    [[ -n $file && ! -e $TMP/lib/modules/$name.ko ]] || return 0
    uncompressed "$file" >"$TMP/lib/modules/$name.ko"
    deps=$(tr '\0' '\n' <"$TMP/lib/modules/$name.ko" | sed -n 's/^depends=//p' | tr ',' '\n')
    for dep in $deps; do
        add_module "$dep"
    done
    printf '/lib/modules/%s.ko\n' "$name" >>"$TMP/modules"
}

need_packages build-essential dpkg-dev cpio xz-utils

mkdir -p "$OUT"
exec 8>"$OUT/lock"
flock 8
source=$(kernel_deb)
[[ -e $source ]] || die "the kernel $source does not exist" "SKIP_BALLOON_KERNEL names a linux-image package or directory"
source=$(realpath "$source")

# Anything that the result depends on, by content where it is ours.
inputs=$(printf '%s\n' "$source" && sha256sum "$ROOT"/guest/{init.c,build.sh})
if [[ -e $OUT/initramfs.cpio.gz && $(cat "$OUT/inputs" 2>/dev/null || true) == "$inputs" ]]; then
    exit 0
fi
say "making the guest from $(basename "$source")"
rm -f "$OUT/inputs"
if [[ -d $source ]]; then
    KERNEL=$source
else
    KERNEL=$OUT/kernel
    rm -rf "$KERNEL"
    dpkg-deb -x "$source" "$KERNEL"
fi
vmlinuz=$(find "$KERNEL/boot" -name 'vmlinuz-*' 2>/dev/null | sort -V | tail -n 1)
[[ -n $vmlinuz ]] || die "no boot/vmlinuz-* in $source" "Is it a linux-image package? (not -unsigned's debug symbols, not headers)"

TMP=$OUT/initramfs
rm -rf "$TMP"
mkdir -p "$TMP"/{dev,proc,sys,lib/modules}
: >"$TMP/modules"
for m in "${MODULES[@]}"; do
    add_module "$m"
done
logged guest-init gcc -static -O2 -Wall -Wextra -Werror -o "$TMP/init" "$ROOT/guest/init.c"
# The kernel wants a console before the program can mount anything.
(cd "$TMP" && find . -print0 | sort -z | cpio -o0 -H newc -R 0:0 --reproducible --quiet) | gzip -9n >"$OUT/initramfs.tmp"
cp "$vmlinuz" "$OUT/vmlinuz"
printf '%s\n' "${vmlinuz##*/vmlinuz-}" >"$OUT/kernel.version"
mv "$OUT/initramfs.tmp" "$OUT/initramfs.cpio.gz"
printf '%s\n' "$inputs" >"$OUT/inputs"
[[ -d $source ]] || rm -rf "$KERNEL"
