#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Inside a fresh chroot, by tests/deb/run: installs the packages of /debs beside Debian's QEMU and libvirt, uses them as a
# user, removes and purges them, and looks for what they left.

set -uo pipefail
passed=0 failed=0
QEMU=/usr/lib/skip-balloon/bin/qemu-system-x86_64
OURS=(qemu-system-x86-skip-balloon skip-balloon)
DEBS=(/debs/qemu-system-x86-skip-balloon_*.deb /debs/skip-balloon_*.deb)
LIBVIRTD=/etc/apparmor.d/local/usr.sbin.libvirtd

# check WHAT COMMAND...
check() {
    local what=$1
    shift
    if "$@" >/tmp/out 2>&1; then
        printf 'ok - %s\n' "$what"
        passed=$((passed + 1))
    else
        printf 'not ok - %s\n' "$what"
        sed 's/^/    /' /tmp/out
        failed=$((failed + 1))
    fi
}

# files: everything there is, but for what the package manager keeps of its doings.
files() {
    local path prune=()
    for path in /proc /sys /dev /tmp /run /cache /guest /debs /home /var/lib/apt /var/log/apt /var/log/dpkg.log \
        /var/cache/{apt,ldconfig,man} /var/lib/dpkg/status{,-old}; do
        prune+=(-path "$path" -o)
    done
    find / -xdev \( "${prune[@]}" -false \) -prune -o -printf '%y %m %u %g %p %l\n'
    find /etc /usr /var/lib/dpkg/info -xdev -type f -exec sha256sum {} +
}

user() { setpriv --reuid tester --regid tester --init-groups env HOME=/home/tester XDG_RUNTIME_DIR=/run/tester "$@"; }

# The rules of a guest, as virt-aa-helper puts them together.
guest_rules() {
    printf '#include <tunables/global>\nprofile libvirt-x {\n  #include <abstractions/libvirt-qemu>\n}\n' >/tmp/profile
    apparmor_parser --preprocess /tmp/profile
}
guest_may() { guest_rules | grep -vE '^ *#' | grep -F "$1"; }
parses() { guest_rules >/dev/null && apparmor_parser --skip-kernel-load --skip-cache "$@" >/dev/null; }
not() { ! "$@"; }
# As if libvirt were installed after them
libvirt_again() {
    : >"$LIBVIRTD"
    apt-get -q -y install --reinstall libvirt-daemon libvirt-daemon-system libvirt-daemon-driver-qemu
}
once() { [[ $(grep -cF "$1" "$2") == 1 ]]; }

debian_runs() { qemu-system-x86_64 --version | grep -F '(Debian '; }
program_version() { [[ $(skip-balloon --version) == 'skip-balloon '*' (with libvirt '* ]]; }
same_version() { "$QEMU" --version | grep -F "($(skip-balloon --version | cut -d ' ' -f 1-2))"; }
has_page() { user man -P cat "$1" | grep SYNOPSIS; }
completes() {
    # shellcheck disable=SC1091
    source /usr/share/bash-completion/completions/skip-balloon
    COMP_WORDS=(skip-balloon st) COMP_CWORD=1
    _skip_balloon
    [[ ${COMPREPLY[*]} == status ]]
}

apt-get -q update
# With what ours depend on, so that they alone are the difference.
depends=$(for deb in "${DEBS[@]}"; do dpkg-deb -f "$deb" Depends; done | paste -sd ,)
apt-get -q -y satisfy "$depends" >/dev/null || exit 1
apt-get -q -y install apparmor libvirt-daemon-system libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86 \
    man-db >/dev/null || exit 1
useradd --create-home tester
install -d -o tester /run/tester
check 'without them a guest may not read pagemap' not guest_may '/pagemap r,'
files >/tmp/before

check 'they are installed beside qemu-system-x86' apt-get -q -y install "${DEBS[@]}"
check 'Debian'\''s QEMU is as it was' dpkg --verify qemu-system-x86 qemu-system-data seabios
check 'it runs' debian_runs
check 'installed again' dpkg -i "${DEBS[@]}"
check 'their files are as packaged' dpkg --verify "${OURS[@]}"
check 'libvirt is installed again' libvirt_again
check 'the program has libvirt' program_version
check 'QEMU is of the same version' same_version
for page in skip-balloon skip-balloon-{bench,demo,map,migrate,report,status}; do
    check "man $page" has_page "$page"
done
check 'bash completes a command' completes

# The guest, by a user, and what was measured.
demo() {
    user timeout 900 skip-balloon demo --memory 2G --to 256M --capabilities both --backend "$1" --json --timeout 300 \
        --kernel /guest/vmlinuz --initrd /guest/initramfs.cpio.gz >"/tmp/demo-$1"
}
for backend in anon memfd; do
    check "a guest boots and migrates, $backend" demo "$backend"
    printf '# %s %s\n' "$backend" "$(tr -d '\n' <"/tmp/demo-$backend" | tr -s ' ')"
done

# libvirt without privileges finds it, runs a domain with it, and skip-balloon finds that.
user libvirtd >/tmp/libvirtd.log 2>&1 &
daemon=$!
virsh() { user virsh -q -c qemu:///session "$@"; }
for ((i = 0; i < 100; i++)); do
    virsh list >/dev/null 2>&1 && break
    sleep 0.1
done
capabilities() { virsh domcapabilities --emulatorbin "$QEMU" --virttype qemu | grep -F '<machine>pc-i440fx-10.0</machine>'; }
check 'libvirt knows what it can do' capabilities
cat >/tmp/domain.xml <<XML
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>trial</name>
  <memory unit='MiB'>256</memory>
  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>/guest/vmlinuz</kernel>
    <initrd>/guest/initramfs.cpio.gz</initrd>
    <cmdline>console=ttyS0 quiet</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <emulator>$QEMU</emulator>
    <interface type='user'><model type='virtio'/></interface>
    <video><model type='vga'/></video>
    <graphics type='vnc'/>
    <memballoon model='virtio'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-global'/><qemu:arg value='virtio-balloon-pci.must-tell-host=on'/>
    <qemu:arg value='-global'/><qemu:arg value='migration.skip-balloon=on'/>
  </qemu:commandline>
</domain>
XML
check 'libvirt starts a domain with it' virsh create /tmp/domain.xml
runs() { [[ $(readlink "/proc/$(cat /run/tester/libvirt/qemu/run/trial.pid)/exe") == "$QEMU" ]]; }
check 'it is the QEMU that runs' runs
status() {
    local i
    # 3, until the guest's driver is there
    for ((i = 0; i < 120; i++)); do
        user skip-balloon status --domain trial --connect qemu:///session && return
        [[ $? == 3 ]] || return
        sleep 1
    done
    return 1
}
check 'skip-balloon status of the domain: it would skip' status
check 'the domain ends' virsh destroy trial
kill "$daemon"
wait "$daemon"

# AppArmor, as far as no kernel is needed that has it.
check 'the profile of libvirtd is parsed' parses /etc/apparmor.d/usr.sbin.libvirtd
check 'libvirtd may run it, said once' once '/usr/lib/skip-balloon/bin/* PUx,' "$LIBVIRTD"
check 'the profile of a guest is parsed' parses /tmp/profile
check 'a guest may run it' guest_may "$QEMU rmix,"
check 'a guest may read pagemap' guest_may '/pagemap r,'

check 'they are removed' apt-get -q -y remove "${OURS[@]}"
check 'nothing is said to libvirtd any more' not grep skip-balloon "$LIBVIRTD"
check 'they are purged' apt-get -q -y purge "${OURS[@]}"
check 'a guest may no longer read pagemap' not guest_may '/pagemap r,'
files >/tmp/after
left=$(comm -13 <(sort /tmp/before) <(sort /tmp/after) | wc -l)
gone=$(comm -23 <(sort /tmp/before) <(sort /tmp/after) | wc -l)
check "files left behind: $left; files of others that are gone: $gone" diff <(sort /tmp/before) <(sort /tmp/after)
printf '%d passed, %d failed\n' "$passed" "$failed"
((!failed))
