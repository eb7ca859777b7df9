#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced: kernels of Debian's cloud image packages, and an initramfs of one static program and the modules that it
# loads.

# shellcheck source=scripts/debian.sh
source "$(dirname "${BASH_SOURCE[0]}")/debian.sh"

# kernel_deb: the path of the package, newest of the suite.
kernel_deb() {
    local meta image
    meta=$(deb_fetch linux-image-cloud-amd64)
    image=$(dpkg-deb -f "$meta" Depends | sed -nE 's/.*(linux-image-[^ ,]+).*/\1/p')
    [[ -n $image ]] || die "$meta names no kernel" "rm $meta; then again"
    image=$(deb_fetch "$image") ||
        die "that kernel has left the mirror; a newer one has its place" "rm $meta; then again"
    printf '%s\n' "$image"
}

# kernel_open SOURCE DIRECTORY: sets KERNEL to where the package is unpacked, which DIRECTORY is unless SOURCE is such a
# place itself, and VMLINUZ to the kernel in it.
kernel_open() {
    if [[ -d $1 ]]; then
        KERNEL=$1
    else
        KERNEL=$2
        rm -rf "$KERNEL"
        dpkg-deb -x "$1" "$KERNEL"
    fi
    VMLINUZ=$(find "$KERNEL/boot" -name 'vmlinuz-*' 2>/dev/null | sort -V | tail -n 1)
    [[ -n $VMLINUZ ]] || die "no boot/vmlinuz-* in $1" "Is it a linux-image package? (not -unsigned's debug symbols, not headers)"
}

# vmlinux_of VMLINUZ FILE: what is packed in it ("The Linux/x86 Boot Protocol": setup_sects, payload_offset and _length),
# which QEMU loads as it is. To unpack itself takes an emulated processor a second.
vmlinux_of() {
    local sectors offset length unpack
    read -r sectors < <(od -An -tu1 -j 0x1f1 -N 1 "$1")
    read -r offset length < <(od -An -tu4 -j 0x248 -N 8 "$1")
    offset=$(((sectors + 1) * 512 + offset))
    for unpack in zstd xz gzip; do
        # The last four bytes say how long the rest is when it is unpacked.
        if head -c $((offset + length - 4)) "$1" | tail -c +$((offset + 1)) | "$unpack" -qdc >"$2" 2>/dev/null; then
            return
        fi
    done
    # Packed in another way; then it does that itself.
    cp "$1" "$2"
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

# add_module ROOT NAME: dependencies first, each module once. A package has no modules.dep yet; the modules say it
# themselves. ROOT/modules names them in the order of loading.
add_module() {
    local root=$1 name=$2 file dep deps
    file=$(module "$name")
    [[ -n $file && ! -e $root/lib/modules/$name.ko ]] || return 0
    uncompressed "$file" >"$root/lib/modules/$name.ko"
    deps=$(tr '\0' '\n' <"$root/lib/modules/$name.ko" | sed -n 's/^depends=//p' | tr ',' '\n')
    for dep in $deps; do
        add_module "$root" "$dep"
    done
    printf '/lib/modules/%s.ko\n' "$name" >>"$root/modules"
}

# initramfs_begin ROOT MODULE...: an empty one, and those of the modules that are modules in this kernel, with what they
# depend on.
initramfs_begin() {
    local root=$1 m
    shift
    rm -rf "$root"
    mkdir -p "$root"/{dev,proc,sys,lib/modules}
    : >"$root/modules"
    for m in "$@"; do
        add_module "$root" "$m"
    done
}

# initramfs_end ROOT FILE
initramfs_end() {
    (cd "$1" && find . -print0 | sort -z | cpio -o0 -H newc -R 0:0 --reproducible --quiet) | gzip -9n >"$2.tmp"
    mv "$2.tmp" "$2"
}
