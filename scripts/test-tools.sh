#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the report is drawn with, a browser to test it in, and a libvirt whose domains are migrated. Without them their
# tests skip themselves, so that a user who may not install packages can still run the others. None of them starts a service.

# shellcheck source=scripts/debian.sh
source "$(dirname "${BASH_SOURCE[0]}")/debian.sh"

if ((EUID == 0)); then
    need_packages gnuplot-nox chromium libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients
else
    for tool in gnuplot chromium virsh; do
        [[ -n $(type -P "$tool" || true) ]] || say "there is no $tool: tests that need it will skip themselves"
    done
fi
