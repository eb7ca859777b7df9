#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Inside a chroot, by tests/deb/run: makes packages of /root/source, for /debs, and asks lintian about them.

set -euo pipefail
cd /root/source
apt-get -q update
apt-get -q -y install build-essential lintian
apt-get -q -y build-dep ./
rm -f /debs/*
# Without packages of debug information, which take long.
DEB_BUILD_OPTIONS=noautodbgsym dpkg-buildpackage -us -uc
cd ..
mv ./*.deb ./*.buildinfo ./*.changes ./*.dsc ./*.tar.xz /debs/
found=0
for what in dsc changes; do
    tags=$(lintian --allow-root /debs/*."$what" || true)
    printf '%s\n' "$tags"
    printf 'lintian: %s of .%s: %s errors, %s warnings\n' "$SUITE" "$what" "$(grep -c '^E: ' <<<"$tags" || true)" \
        "$(grep -c '^W: ' <<<"$tags" || true)"
    [[ $tags != *[EW]:\ * ]] || found=1
done
exit "$found"
