#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build/dist/skip-balloon-VERSION.tar.xz: what the last commit has. Prints its path.

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cd "$ROOT"
[[ -e .git ]] || die "this is no clone of the repository: there is no commit to make a tarball of" \
    "What make dist gives is what this was unpacked from."
version=$(our_version)
packaged=$(sed -nE '1s/.*\((.*)\).*/\1/p' debian/changelog)
[[ $version == "$packaged" ]] || die "meson.build has version $version, debian/changelog $packaged" \
    "Write an entry for $version into debian/changelog."
[[ -z $(git status --porcelain) ]] || say "what is in no commit is not in the tarball"
mkdir -p build/dist
name=skip-balloon-$version
git archive --prefix="$name/" HEAD | xz -T0 >"build/dist/$name.tar.xz.tmp"
mv "build/dist/$name.tar.xz.tmp" "build/dist/$name.tar.xz"
printf 'build/dist/%s.tar.xz\n' "$name"
