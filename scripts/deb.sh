#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian packages of the last commit, for the Debian on which this runs: build/deb/*.deb.

# shellcheck source=scripts/debian.sh
source "$(dirname "${BASH_SOURCE[0]}")/debian.sh"

cd "$ROOT"
# All the names of Build-Depends, of which each stands alone in its line.
mapfile -t packages < <(sed -nE '/^Build-Depends:/,/^Standards/s/^(Build-Depends:)? ([a-z][^ ,]*)( .*)?,?$/\2/p' debian/control)
need_packages debhelper "${packages[@]:1}" git
tarball=$(scripts/dist.sh)
name=$(basename "$tarball" .tar.xz)
rm -rf build/deb
mkdir -p build/deb
tar -C build/deb -xf "$tarball"
say "building packages of $name (log: build/log/deb.log)"
# debhelper has a home directory of its own.
logged deb env -C "build/deb/$name" SKIP_BALLOON_CACHE="$CACHE" dpkg-buildpackage -b -us -uc
rm -rf "build/deb/$name"
if [[ -n $(type -P lintian || true) ]]; then
    say "lintian"
    lintian --allow-root --fail-on error,warning build/deb/*.changes
fi
ls build/deb/*.deb
