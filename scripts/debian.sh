#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Sourced: Debian packages. need_packages installs into the system; deb_fetch and source_fetch only download, from
# another suite than the system's own if need be, with a private apt configuration that leaves the system's alone.

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

SUITE=${SKIP_BALLOON_SUITE:-trixie}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
DOWNLOADS=$CACHE/$SUITE
APT=$CACHE/apt-$SUITE
mkdir -p "$DOWNLOADS"

# need_packages PACKAGE...: make sure that they are installed.
need_packages() {
    local missing=() p known
    # One question for all of them: make asks this in each of its steps.
    known=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
    for p in "$@"; do
        [[ $'\n'$known$'\n' == *$'\n'"$p installed"$'\n'* ]] || missing+=("$p")
    done
    ((${#missing[@]})) || return 0
    if ((EUID)); then
        die "Debian packages are missing. Install them and start again:" \
            "sudo apt-get install --no-install-recommends ${missing[*]}"
    fi
    say "installing ${missing[*]}"
    # A fresh container has no package lists, an old machine stale ones: the second try covers both.
    system_install "${missing[@]}" ||
        { logged apt-update apt-get -o DPkg::Lock::Timeout=300 update && system_install "${missing[@]}"; } || {
        tail -n 30 "$LOGS/apt-install.log" >&2
        die "apt-get could not install ${missing[*]}" "full log: $LOGS/apt-install.log"
    }
}

# packages_offered PACKAGE...: prints those that are installed or that apt could install.
packages_offered() {
    local installed p missing=()
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/ installed$//p' || true)
    printf '%s\n' "$installed"
    for p in "$@"; do
        [[ $'\n'$installed$'\n' == *$'\n'"$p"$'\n'* ]] || missing+=("$p")
    done
    ((${#missing[@]})) || return 0
    # A fresh container has no package lists, hence cannot say what it lacks.
    if [[ -z $(apt-get indextargets 'Created-By: Packages' 2>/dev/null || true) ]]; then
        if ((EUID)); then
            printf '%s\n' "${missing[@]}"
            return
        fi
        logged apt-update apt-get -o DPkg::Lock::Timeout=300 update
    fi
    apt-cache policy "${missing[@]}" | sed -nE '/^[^ ].*:$/ { s/:$//; h }; /^ *Candidate: [^(]/ { x; p }'
}

system_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@" \
        >"$LOGS/apt-install.log" 2>&1 </dev/null
}

# The Debian archive that this machine already uses, whatever the format of its sources.
mirror() {
    local uris
    if [[ -n ${SKIP_BALLOON_MIRROR:-} ]]; then
        printf '%s\n' "$SKIP_BALLOON_MIRROR"
        return
    fi
    # The label tells the main archive from security, backports and third parties. It comes from the Release file, so
    # the lists must be there.
    # shellcheck disable=SC2016 # apt expands it
    local ask=(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian')
    uris=$("${ask[@]}" 2>/dev/null || true)
    if [[ -z $uris ]] && ((!EUID)); then
        logged apt-update apt-get -o DPkg::Lock::Timeout=300 update
        uris=$("${ask[@]}" 2>/dev/null || true)
    fi
    [[ -n $uris ]] || die "no mirror of the Debian archive in this machine's apt sources" \
        "If there is one, its lists are missing: sudo apt-get update" \
        "If there is none, name one: SKIP_BALLOON_MIRROR=URI make ..."
    printf '%s\n' "${uris%%$'\n'*}"
}

# private_apt [fresh]: set the private configuration up; lists are fetched when a day old or when asked for.
private_apt() {
    local uri
    [[ -r $KEYRING ]] || die "$KEYRING is missing: downloads could not be verified" \
        "sudo apt-get install debian-archive-keyring"
    mkdir -p "$APT"/{state/lists/partial,cache/archives/partial}
    uri=$(mirror)
    printf '%s [signed-by=%s] %s %s main\n' deb "$KEYRING" "$uri" "$SUITE" deb-src "$KEYRING" "$uri" "$SUITE" \
        >"$APT/sources.list"
    # Hooks of the system's configuration may need root or touch its cache: none of them here. The sandbox user could
    # not enter a private home directory.
    cat >"$APT/apt.conf" <<CONF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::State "$APT/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$APT/cache";
Dir::Etc::sourcelist "$APT/sources.list";
Dir::Etc::sourceparts "-";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Default-Release "";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
    if [[ ${1:-} == fresh || -z $(find "$APT/updated" -mtime -1 2>/dev/null) ]]; then
        say "reading the package lists of Debian $SUITE"
        if apt-get -c "$APT/apt.conf" update >"$LOGS/apt-lists.log" 2>&1 </dev/null; then
            touch "$APT/updated"
        elif [[ -e $APT/updated ]]; then
            say "the mirror does not answer: going on with the lists from $(date -r "$APT/updated" +%F)"
        else
            tail -n 10 "$LOGS/apt-lists.log" >&2
            die "the package lists of Debian $SUITE could not be read from $uri" \
                "Is the network up, and does that mirror carry $SUITE? SKIP_BALLOON_MIRROR=URI names another." \
                "full log: $LOGS/apt-lists.log"
        fi
    fi
}

# fetch_into DIR APT-GET-ARGUMENTS...: download, a second time with fresh lists if the first fails.
fetch_into() {
    local dir=$1
    shift
    (cd "$dir" && apt-get -q -c "$APT/apt.conf" "$@") >"$LOGS/download.log" 2>&1 </dev/null && return
    private_apt fresh
    (cd "$dir" && apt-get -q -c "$APT/apt.conf" "$@") >"$LOGS/download.log" 2>&1 </dev/null
}

# deb_cached PACKAGE: path of the newest one in the cache, nothing if there is none.
deb_cached() { find "$DOWNLOADS" -maxdepth 1 -name "$1_*.deb" | sort -V | tail -n 1; }

# deb_fetch PACKAGE: prints the path of the .deb, downloaded unless it already is.
deb_fetch() {
    (
        flock 9
        deb=$(deb_cached "$1")
        if [[ -z $deb ]]; then
            private_apt
            tmp=$(mktemp -d "$CACHE/tmp.XXXXXX")
            trap 'rm -rf "$tmp"' EXIT
            say "downloading $1 of Debian $SUITE"
            fetch_into "$tmp" download "$1" || {
                tail -n 10 "$LOGS/download.log" >&2
                die "the package $1 of Debian $SUITE could not be downloaded" "full log: $LOGS/download.log"
            }
            mv "$tmp"/*.deb "$DOWNLOADS/"
            deb=$(deb_cached "$1")
        fi
        printf '%s\n' "$deb"
    ) 9>"$CACHE/lock"
}

# source_fetch PACKAGE VERSION SERIES: prints the path of the .dsc of that version, else of the newest one in the mirror
# whose upstream version begins with SERIES.
source_fetch() {
    (
        flock 9
        dsc() { printf '%s/%s_%s.dsc\n' "$DOWNLOADS" "$1" "${2#*:}"; }
        version=$2
        if [[ ! -e $(dsc "$1" "$version") ]]; then
            private_apt
            offered=$(apt-cache -c "$APT/apt.conf" showsrc --only-source "$1" | sed -n 's/^Version: //p' | sort -uV)
            if ! grep -qxF "$version" <<<"$offered"; then
                version=$(grep -E "^([0-9]+:)?${3//./\\.}\\." <<<"$offered" | tail -n 1) ||
                    die "Debian $SUITE no longer has $1 $3 (it offers: ${offered//$'\n'/ })" \
                        "Take another suite (SKIP_BALLOON_SUITE) or your own copy (QEMU_SOURCE=directory or tarball)."
                say "$1 $2 has left the mirror, taking $version"
            fi
        fi
        if [[ ! -e $(dsc "$1" "$version") ]]; then
            tmp=$(mktemp -d "$CACHE/tmp.XXXXXX")
            trap 'rm -rf "$tmp"' EXIT
            say "downloading the source of $1 $version"
            fetch_into "$tmp" source --download-only --only-source "$1=$version" || {
                tail -n 10 "$LOGS/download.log" >&2
                die "the source of $1 $version could not be downloaded" "full log: $LOGS/download.log"
            }
            # The .dsc last: where it is, the rest is.
            find "$tmp" -type f ! -name '*.dsc' -exec mv -t "$DOWNLOADS" {} +
            mv "$tmp"/*.dsc "$DOWNLOADS/"
        fi
        dsc "$1" "$version"
    ) 9>"$CACHE/lock"
}
