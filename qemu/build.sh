#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# QEMU from Debian's source package.
#
#   qemu/build.sh ours [OPTION]   with qemu/overlay and qemu/series: build/bin/qemu-system-x86_64;
#                                 --bare leaves out firmware, build/share/qemu
#                                 --tests adds qemu-system-alpha and QEMU's test programs in build/qtest, build/unit
#   qemu/build.sh stock           without them: build/bin/qemu-system-x86_64-stock
#   qemu/build.sh own_tests       both, and QEMU's own unit tests and x86_64 device tests, in each of them
#   qemu/build.sh package         Debian's source package with both: build/qemu-package
#   qemu/build.sh tree            a git tree to work in: build/qemu-tree, one commit for each patch of the series
#   qemu/build.sh series          write the commits of that tree back to qemu/series
#
# QEMU_SOURCE=DIRECTORY|TARBALL   takes that QEMU in place of Debian's
# QEMU_CONFIGURE="OPTION..."      options for its configure, after our own; quoted as for xargs

# shellcheck source=scripts/debian.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/debian.sh"

QEMU_VERSION=1:10.0.13+ds-0+deb13u1
QEMU_SERIES=10.0
# Paths below the prefix QEMU finds from where its binary is, so the same one runs in build/bin, under the PREFIX of make
# install, and in the package. The helper for bridges is Debian's, and so is firmware where there is none of our own.
# No feature but those that are named: otherwise what a QEMU can do would depend on what is installed where it is built.
CONFIGURE=(--prefix=/usr/lib/skip-balloon --sysconfdir=/etc --localstatedir=/var --libexecdir=/usr/lib/qemu
    --firmwarepath=/usr/lib/skip-balloon/share/qemu:/usr/share/qemu:/usr/share/seabios:/usr/lib/ipxe/qemu
    --python=/usr/bin/python3 --cc="ccache gcc" --host-cc="ccache gcc" --disable-download
    --without-default-features "--target-list=x86_64-softmmu,alpha-softmmu" --enable-system --enable-tcg
    --disable-docs --disable-install-blobs)
# What a host needs of Debian's own QEMU, with the package each takes; docs/building.md says what is left out, and why.
FEATURES=(kvm stack-protector avx2 avx512bw malloc-trim tpm hv-balloon attr virtfs
    vhost-kernel vhost-net vhost-user vhost-vdpa vhost-crypto l2tpv3
    bochs cloop dmg parallels qcow1 qed vdi vhdx vmdk vpc vvfat
    gnutls=libgnutls28-dev nettle=nettle-dev zstd=libzstd-dev seccomp=libseccomp-dev numa=libnuma-dev
    linux-aio=libaio-dev linux-io-uring=liburing-dev slirp=libslirp-dev pixman=libpixman-1-dev png=libpng-dev
    vnc=libpixman-1-dev vnc-jpeg=libjpeg-dev vnc-sasl=libsasl2-dev spice=libspice-server-dev
    spice-protocol=libspice-protocol-dev libusb=libusb-1.0-0-dev usb-redir=libusbredirparser-dev)

# Built by `ours --tests`. Names that this QEMU does not know are passed over.
TESTS=(tests/qtest/migration-test tests/qtest/qos-test tests/qtest/virtio-balloon-test
    tests/qtest/skip-balloon-test tests/qtest/balloon-enforce-test tests/qtest/balloon-map-test tests/qtest/balloon-audit-test
    tests/qtest/balloon-read-test tests/qtest/balloon-request-test tests/qtest/balloon-owed-test tests/qtest/skip-unpopulated-test
    tests/qtest/skip-scale-test tests/qtest/skip-liar-test
    tests/qtest/skip-postcopy-test tests/qtest/skip-file-test tests/qtest/skip-memory-test tests/qtest/skip-fault-test
    tests/qtest/skip-transport-test tests/qtest/skip-tls-test tests/qtest/skip-rollout-test tests/qtest/skip-record-test
    tests/qtest/skip-host-test tests/qtest/skip-inject-test tests/qtest/skip-mutants-test tests/qtest/skip-drop-test tests/qtest/skip-vhost-test tests/qtest/skip-told-test
    tests/qtest/qmp-cmd-test
    tests/unit/test-balloon-codec tests/unit/test-balloon-codec-corpus)

WORK=$BUILD/qemu
STOCK=$WORK/stock # its src is never written to, hence also the pristine copy for the others
OURS=$WORK/ours
TREE=$BUILD/qemu-tree
OVERLAY=$ROOT/qemu/overlay

# The same relative layout everywhere lets ours, stock and any other clone share objects.
export CCACHE_DIR=${CCACHE_DIR:-$CACHE/ccache} CCACHE_BASEDIR=$ROOT CCACHE_NOHASHDIR=1
# Configure and ninja (which runs meson again by itself) both need the newer meson.
export PYTHONPATH=$WORK/meson/usr/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1
export NINJA_STATUS='[%f/%t] '

# --- sources --------------------------------------------------------------------------------------------------------

# unpack: the pristine source in $STOCK/src.
unpack() {
    local id dsc
    if [[ -n ${QEMU_SOURCE:-} ]]; then
        [[ -e $QEMU_SOURCE ]] || die "QEMU_SOURCE=$QEMU_SOURCE does not exist"
        id=$(realpath "$QEMU_SOURCE")
    else
        dsc=$(source_fetch qemu "$QEMU_VERSION" "$QEMU_SERIES")
        id=$dsc
    fi
    if [[ $(cat "$WORK/source" 2>/dev/null || true) != "$id" ]]; then
        say "unpacking $(basename "$id")"
        rm -rf "$STOCK" "$OURS" "$WORK/unpack" "$WORK/source"
        mkdir -p "$STOCK" "$WORK/unpack"
        if [[ -z ${QEMU_SOURCE:-} ]]; then
            # apt has verified it against the signed lists.
            logged unpack dpkg-source --no-check -x "$dsc" "$WORK/unpack/src"
        elif [[ -d $QEMU_SOURCE ]]; then
            cp -a --reflink=auto "$id" "$WORK/unpack/src"
            rm -rf "$WORK/unpack/src/.git"
        else
            mkdir "$WORK/unpack/src"
            logged unpack tar -C "$WORK/unpack/src" --strip-components=1 -xf "$id"
        fi
        [[ -x $WORK/unpack/src/configure && -e $WORK/unpack/src/VERSION ]] || die "$id is not a QEMU source"
        # Two thirds of the tree: sources of firmware that this build does not make.
        rm -rf "$WORK/unpack/src/roms" "$WORK/unpack/src/.pc"
        mv "$WORK/unpack/src" "$STOCK/src"
        rm -rf "$WORK/unpack"
        printf '%s\n' "$id" >"$WORK/source"
    fi
}

version() { cat "$STOCK/src/VERSION"; }

# The series made for this QEMU, or else the newest one.
series_dir() {
    local v
    v=$(version)
    v=${v%.*}
    if [[ -d $ROOT/qemu/series/$v ]]; then
        printf '%s\n' "$ROOT/qemu/series/$v"
    else
        find "$ROOT/qemu/series" -mindepth 1 -maxdepth 1 -type d 2>/dev/null | sort -V | tail -n 1 || true
    fi
}

# Paths as in QEMU's tree, sorted.
overlay_files() { [[ ! -d $OVERLAY ]] || (cd "$OVERLAY" && find . -type f ! -name '.*' -printf '%P\n' | sort); }

check_overlay() {
    local f
    while IFS= read -r f; do
        [[ ! -e $STOCK/src/$f ]] ||
            die "qemu/overlay/$f would overwrite a file of QEMU $(version)" \
                "The overlay is for new files only; changes to QEMU's own belong to qemu/series (make qemu-tree)."
    done < <(overlay_files)
}

# put FROM TO: copy where the content differs. Untouched files keep their time, so ninja rebuilds only what it must.
put() {
    cmp -s "$1" "$2" || {
        mkdir -p "$(dirname "$2")"
        cp --remove-destination "$1" "$2"
    }
}

# apply_series DIR LISTED-IN: what the series makes of the files it touches, in DIR.
apply_series() {
    local stage=$1 list=$2 dir patch f log=$LOGS/series.log
    dir=$(series_dir)
    rm -rf "$stage"
    mkdir -p "$stage"
    : >"$log"
    : >"$list"
    [[ -n $dir ]] && compgen -G "$dir/*.patch" >/dev/null || return 0
    sed -nE 's#^(---|\+\+\+) [ab]/([^[:space:]]+).*#\2#p' "$dir"/*.patch | sort -u >"$list"
    while IFS= read -r f; do
        [[ ! -e $OVERLAY/$f ]] || die "$f is in qemu/overlay and in ${dir#"$ROOT/"}: keep it in one of them"
        [[ ! -e $STOCK/src/$f ]] || (cd "$STOCK/src" && cp --parents "$f" "$stage")
    done <"$list"
    for patch in "$dir"/*.patch; do
        printf '# %s\n' "${patch##*/}" >>"$log"
        patch -p1 --fuzz=0 --force --no-backup-if-mismatch -r - -d "$stage" <"$patch" >"$log.1" 2>&1 || {
            cat "$log.1" >>"$log"
            {
                printf 'error: %s does not apply to QEMU %s\n' "${patch#"$ROOT/"}" "$(version)"
                sed -nE 's/^(checking|patching) file (.*)/       in \2:/p; /FAILED|ignored|can.t find|malformed/s/^/       /p' "$log.1"
                printf '       Hunks are numbered from 1 in each file. To repair it: make qemu-tree\n       full log: %s\n' "$log"
            } >&2
            exit 1
        }
        cat "$log.1" >>"$log"
        rm "$log.1"
    done
}

# sync_ours: $OURS/src = pristine source + overlay + series, writing only the files whose content changes.
sync_ours() {
    local f inputs
    inputs=$({
        cat "$WORK/source"
        { find "$OVERLAY" "$ROOT/qemu/series" -type f -print0 2>/dev/null || true; } | sort -z | xargs -0r sha256sum
    } | sha256sum)
    if [[ ! -d $OURS/src ]]; then
        rm -rf "$OURS/src.tmp" "$OURS/inputs" "$OURS/changed"
        mkdir -p "$OURS"
        cp -a --reflink=auto "$STOCK/src" "$OURS/src.tmp"
        mv "$OURS/src.tmp" "$OURS/src"
    fi
    [[ $(cat "$OURS/inputs" 2>/dev/null || true) != "$inputs" ]] || return 0
    say "applying qemu/overlay and qemu/series to QEMU $(version)"
    check_overlay
    apply_series "$OURS/stage" "$OURS/touched"
    overlay_files | sort -u - "$OURS/touched" >"$OURS/changed.new"
    # Everything that may differ from the pristine source is on record before the first write, for an interrupted run.
    touch "$OURS/changed"
    sort -u -o "$OURS/changed" "$OURS/changed" "$OURS/changed.new"
    while IFS= read -r f; do
        if [[ -e $OVERLAY/$f ]]; then
            put "$OVERLAY/$f" "$OURS/src/$f"
        elif [[ -e $OURS/stage/$f ]]; then
            put "$OURS/stage/$f" "$OURS/src/$f"
        elif [[ -e $STOCK/src/$f ]] && ! grep -qxF "$f" "$OURS/touched"; then
            put "$STOCK/src/$f" "$OURS/src/$f" # no longer patched
        else
            rm -f "$OURS/src/$f"
        fi
    done <"$OURS/changed"
    mv "$OURS/changed.new" "$OURS/changed"
    printf '%s\n' "$inputs" >"$OURS/inputs"
}

# --- building -------------------------------------------------------------------------------------------------------

tools() {
    need_packages build-essential pkgconf ninja-build ccache libglib2.0-dev libfdt-dev zlib1g-dev libtasn1-6-dev \
        python3-venv dpkg-dev patch xz-utils bzip2
    [[ -d $WORK/meson ]] || {
        local deb
        deb=$(deb_fetch meson)
        rm -rf "$WORK/meson.tmp"
        mkdir -p "$WORK"
        dpkg-deb -x "$deb" "$WORK/meson.tmp"
        # Debian's source does without it; others come here by QEMU_SOURCE.
        deb=$(deb_fetch python3-pycotap)
        dpkg-deb -x "$deb" "$WORK/meson.tmp"
        mv "$WORK/meson.tmp" "$WORK/meson"
    }
}

# features: OPTIONS, which is CONFIGURE and what of FEATURES this QEMU knows and there are packages for.
features() {
    local f option package offered packages=()
    OPTIONS=("${CONFIGURE[@]}")
    mapfile -t packages < <(printf '%s\n' "${FEATURES[@]}" | sed -n 's/.*=//p')
    offered=$(packages_offered "${packages[@]}")
    packages=()
    for f in "${FEATURES[@]}"; do
        option=${f%%=*} package=${f#*=}
        grep -q -- " --enable-$option)" "$STOCK/src/scripts/meson-buildoptions.sh" || continue
        if [[ $f == *=* ]]; then
            if [[ $'\n'$offered$'\n' != *$'\n'"$package"$'\n'* ]]; then
                say "QEMU will lack $option: apt has no package $package"
                continue
            fi
            packages+=("$package")
        fi
        OPTIONS+=("--enable-$option")
    done
    need_packages "${packages[@]}"
}

# configure_in DIR OPTION...
configure_in() {
    cd "$1/obj"
    shift
    ../src/configure "$@"
}

# compile NAME DIR NINJA-TARGET...: configure DIR/obj once, then build.
compile() {
    local name=$1 dir=$2 own options package=unmodified
    shift 2
    [[ $dir != "$OURS" ]] || package="skip-balloon $(our_version)"
    own=$(xargs -rn 1 printf '%s\n' <<<"${QEMU_CONFIGURE:-}")
    options=("${OPTIONS[@]}" "--with-pkgversion=$package")
    [[ -z $own ]] || mapfile -tO "${#options[@]}" options <<<"$own"
    # Without the mark the last configure was for other options or did not finish.
    if [[ $(cat "$dir/configured" 2>/dev/null || true) != "${options[*]}" ]]; then
        say "configuring $name"
        rm -rf "$dir/obj"
        mkdir -p "$dir/obj"
        logged "$name-configure" configure_in "$dir" "${options[@]}"
        printf '%s\n' "${options[*]}" >"$dir/configured"
    fi
    say "building $name (log: ${LOGS#"$ROOT/"}/$name.log)"
    logged "$name" ninja -C "$dir/obj" "$@"
}

# publish FROM TO: a copy, so that QEMU finds build/share/qemu from where its binary is, and put in place by rename, so
# that a running one is left alone.
publish() {
    mkdir -p "$(dirname "$2")"
    cmp -s "$1" "$2" && return
    cp --reflink=auto "$1" "$2.tmp"
    mv "$2.tmp" "$2"
}

# firmware: build/share/qemu, which QEMU finds from build/bin by itself.
firmware() {
    local share=$BUILD/share/qemu fw=$WORK/firmware deb
    [[ ! -d $share ]] || return 0
    rm -rf "$fw" "$share.tmp"
    mkdir -p "$fw" "$share.tmp"
    deb=$(deb_fetch seabios)
    dpkg-deb -x "$deb" "$fw"
    deb=$(deb_fetch qemu-system-data)
    dpkg-deb -x "$deb" "$fw"
    deb=$(deb_fetch ipxe-qemu) # without its ROM the default network card does not start
    dpkg-deb -x "$deb" "$fw"
    cp -rL "$fw"/usr/share/seabios/*.bin \
        "$fw"/usr/share/qemu/{kvmvapic,linuxboot,linuxboot_dma,multiboot,multiboot_dma,pvh}.bin \
        "$fw"/usr/share/qemu/{palcode-clipper,keymaps} "$fw"/usr/share/qemu/*.rom "$share.tmp"
    mv "$share.tmp" "$share"
    rm -rf "$fw"
}

ours() {
    local targets=(qemu-system-x86_64) known t
    tools
    unpack
    features
    [[ ${1:-} == --bare ]] || firmware
    sync_ours
    compile qemu "$OURS" "${targets[@]}"
    publish "$OURS/obj/qemu-system-x86_64" "$BUILD/bin/qemu-system-x86_64"
    [[ ${1:-} == --tests ]] || return 0
    need_packages gdb # plays a device that inhibits discards
    known=$(ninja -C "$OURS/obj" -t targets all)
    targets=(qemu-system-alpha)
    for t in "${TESTS[@]}"; do
        # Not a pipe: grep -q would leave early and break it.
        grep -q "^$t: " <<<"$known" && targets+=("$t")
    done
    compile qemu-tests "$OURS" "${targets[@]}"
    publish "$OURS/obj/qemu-system-alpha" "$BUILD/bin/qemu-system-alpha"
    for t in "${targets[@]:1}"; do
        publish "$OURS/obj/$t" "$BUILD/${t#tests/}"
    done
}

stock() {
    tools
    unpack
    features
    firmware
    compile qemu-stock "$STOCK" qemu-system-x86_64
    publish "$STOCK/obj/qemu-system-x86_64" "$BUILD/bin/qemu-system-x86_64-stock"
}

# own_tests: those of meson's suites that speak TAP. Ours are not among what the unmodified one has.
own_tests() {
    local -a targets
    ours ""
    stock
    python3 -c 'if True:
        import json, sys
        for test in json.load(open(sys.argv[1])):
            if test["protocol"] == "tap" and {"qemu:unit", "qemu:qtest-x86_64"} & set(test["suite"]):
                print(test["timeout"], test["cmd"][0].split("/obj/")[-1], sep="\t")
        ' "$STOCK/obj/meson-info/intro-tests.json" >"$WORK/own-tests"
    mapfile -t targets < <(cut -f 2 "$WORK/own-tests")
    compile qemu-own-tests "$OURS" "${targets[@]}"
    compile qemu-own-tests-stock "$STOCK" "${targets[@]}"
}

# --- the distribution's package ------------------------------------------------------------------------------------

overlay_patch() {
    local f
    printf 'Description: skip-balloon: files that QEMU does not have\nForwarded: no\n\n'
    while IFS= read -r f; do
        # 1: they differ
        diff -u --label /dev/null --label "b/$f" /dev/null "$OVERLAY/$f" || (($? == 1))
    done < <(overlay_files)
}

# in_package NAME COMMAND...: run a command there, see logged.
in_package() { logged "$1" env -C "$BUILD/qemu-package/src" "${@:2}"; }

# package: what a packager would do with Debian's source package, and whether it comes to the tree that is compiled.
package() {
    local dir=$BUILD/qemu-package patches=debian/patches dsc version
    need_packages dpkg-dev patch xz-utils
    [[ -z ${QEMU_SOURCE:-} ]] || die "the package is Debian's, so QEMU_SOURCE cannot be another QEMU"
    unpack
    sync_ours
    dsc=$(cat "$WORK/source")
    rm -rf "$dir"
    mkdir -p "$dir"
    say "unpacking $(basename "$dsc") in build/qemu-package"
    logged package-unpack dpkg-source --no-check -x "$dsc" "$dir/src"
    mkdir "$dir/src/$patches/skip-balloon"
    overlay_patch >"$dir/src/$patches/skip-balloon/overlay.patch"
    cp "$(series_dir)"/*.patch "$dir/src/$patches/skip-balloon"
    printf 'skip-balloon/%s\n' overlay.patch >>"$dir/src/$patches/series"
    (cd "$(series_dir)" && printf 'skip-balloon/%s\n' *.patch) >>"$dir/src/$patches/series"
    version=$(sed -nE '1 s/.*\((.*)\).*/\1/p' "$dir/src/debian/changelog")
    {
        printf 'qemu (%s+skipballoon1) UNRELEASED; urgency=medium\n\n  * Add skip-balloon.\n\n' "$version"
        printf ' -- skip-balloon <skip-balloon@localhost>  %s\n\n' "$(date -Ru -d @0)"
        cat "$dir/src/debian/changelog"
    } >"$dir/changelog"
    mv "$dir/changelog" "$dir/src/debian/changelog"
    say "applying debian/patches, and building the source package"
    in_package package-apply dpkg-source --before-build .
    in_package package-build dpkg-source --build .
    # roms and .pc are not kept where it is compiled.
    diff -rq -x .pc -x debian -x roms "$dir/src" "$OURS/src" >"$LOGS/package-diff.log" ||
        die "the package's tree is not the one that is compiled" "$(head -n 20 "$LOGS/package-diff.log")"
    say "build/qemu-package: $version+skipballoon1, its tree is the one that make qemu compiles"
}

# --- working on QEMU ------------------------------------------------------------------------------------------------

g() { git -C "$TREE" "$@"; }

# Whoever has no identity set must still be able to apply the series.
as_someone() {
    if ! g config user.email >/dev/null; then
        g config user.name skip-balloon
        g config user.email skip-balloon@localhost
    fi
}

series_sum() { { find "$1" -name "*.patch" -print0 2>/dev/null || true; } | sort -z | xargs -0r cat | sha256sum; }

# The exported series, free of anything that depends on the user's settings or on how many objects the tree has.
export_series() {
    GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null git -C "$TREE" \
        -c core.abbrev=8 format-patch -q -U1 --no-signature --zero-commit -N --no-renames -o "$1" base
}

link_overlay() {
    local f
    check_overlay
    # Links of files that the overlay no longer has.
    find "$TREE" -path "$TREE/.git" -prune -o -type l -lname '*qemu/overlay/*' -print0 | xargs -0r rm -f
    while IFS= read -r f; do
        mkdir -p "$TREE/$(dirname "$f")"
        ln -srfn "$OVERLAY/$f" "$TREE/$f"
    done < <(overlay_files)
    # They belong to the repository, not to the series.
    overlay_files | sed 's#^#/#' >"$TREE/.git/info/exclude"
}

tree() {
    local dir mark=$TREE/.git/skip-balloon sum
    need_packages dpkg-dev git xz-utils
    unpack
    dir=$(series_dir)
    sum=$(series_sum "${dir:-/nonexistent}")
    if [[ ! -d $TREE ]]; then
        say "making build/qemu-tree"
        rm -rf "$TREE.tmp"
        cp -a --reflink=auto "$STOCK/src" "$TREE.tmp"
        git -C "$TREE.tmp" init -q -b base
        git -C "$TREE.tmp" config gc.auto 0 # a gc in the background would keep our lock
        git -C "$TREE.tmp" add -fA
        # Fixed, so that every tree has the same base commit.
        GIT_AUTHOR_DATE='2025-01-01T00:00:00Z' GIT_COMMITTER_DATE='2025-01-01T00:00:00Z' git -C "$TREE.tmp" \
            -c user.name=skip-balloon -c user.email=skip-balloon@localhost -c commit.gpgsign=false \
            commit -q -m "QEMU $(version)"
        git -C "$TREE.tmp" switch -q -c skip-balloon
        mv "$TREE.tmp" "$TREE"
    elif [[ -e $mark && $(sed -n 1p "$mark") == "$sum" ]]; then
        link_overlay
        say "build/qemu-tree is up to date"
        return
    elif [[ -d $TREE/.git/rebase-apply ]]; then
        die "a patch is waiting for you in build/qemu-tree" "git am --continue there, then FORCE=1 make qemu-series;" \
            "or git am --abort; or rm -r build/qemu-tree to begin anew"
    elif [[ -n $(g status --porcelain) || $(sed -n 2p "$mark" 2>/dev/null || g rev-parse base) != $(g rev-parse HEAD) ]]; then
        die "build/qemu-tree has changes of its own and qemu/series has changed too" \
            "Commit and write yours over it with FORCE=1 make qemu-series (look at git diff then)," \
            "or throw yours away with rm -r build/qemu-tree; make qemu-tree"
    fi
    as_someone
    g reset -q --hard base
    if [[ -n $dir ]] && compgen -G "$dir/*.patch" >/dev/null; then
        g am -q -C1 --no-gpg-sign "$dir"/*.patch || die "the series does not apply to QEMU $(version)" \
            "Resolve it in build/qemu-tree (git am --show-current-patch; git am --continue), then FORCE=1 make qemu-series"
    fi
    link_overlay
    printf '%s\n%s\n' "$sum" "$(g rev-parse HEAD)" >"$mark"
    say "build/qemu-tree: commit there, then make qemu-series"
}

series() {
    local dir mark=$TREE/.git/skip-balloon tmp f
    [[ -d $TREE ]] || die "there is no build/qemu-tree" "make qemu-tree makes it from qemu/series"
    dir=$ROOT/qemu/series/$(sed 's/\.[0-9]*$//' "$TREE/VERSION")
    [[ -z $(g status --porcelain) ]] ||
        die "build/qemu-tree has changes that are in no commit" "git -C build/qemu-tree commit -a, then again"
    if [[ -z ${FORCE:-} && $(sed -n 1p "$mark" 2>/dev/null || true) != $(series_sum "$dir") ]]; then
        die "qemu/series has changed since build/qemu-tree was made: its changes would be lost" \
            "FORCE=1 make qemu-series writes the tree's commits over it (look at git diff then)"
    fi
    mkdir -p "$dir"
    tmp=$(mktemp -d "$WORK/series.XXXXXX")
    export_series "$tmp"
    # Equal files are left alone, and a reordered series leaves no stale numbers behind.
    for f in "$dir"/*.patch; do
        [[ ! -e $f || -e $tmp/${f##*/} ]] || rm "$f"
    done
    for f in "$tmp"/*.patch; do
        [[ ! -e $f ]] || put "$f" "$dir/${f##*/}"
    done
    rm -r "$tmp"
    chmod -f 644 "$dir"/*.patch || true
    printf '%s\n%s\n' "$(series_sum "$dir")" "$(g rev-parse HEAD)" >"$mark"
    say "${dir#"$ROOT/"}: $(find "$dir" -name '*.patch' | wc -l) patches"
}

mkdir -p "$WORK"
exec 8>"$WORK/lock"
flock -n 8 || { say "another qemu/build.sh is at work in this clone, waiting for it" && flock 8; }
case ${1:-} in
ours | stock | own_tests | package | tree | series) "$@" ;;
*) die "usage: qemu/build.sh ours [--tests | --bare] | stock | own_tests | package | tree | series" ;;
esac
