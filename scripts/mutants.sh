#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Do the tests notice? Each tests/mutants/NAME.patch breaks QEMU in one place; the tests that it names have to fail then.
#
#   scripts/mutants.sh [NAME...]   all of them, or these; ends with `N killed, N survived`
#   scripts/mutants.sh --list      what each breaks, and what has to notice
#
# A patch is of one C file of QEMU's tree as we build it. It begins with a line that says what it breaks, and with lines
# `Test: PROGRAM CASE...` (qtest/... or unit/...), where a case is also all that is below it. The file is compiled apart,
# and linked with what is there: neither the sources nor build/bin change. The rest is what `make mutants` has built.

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/huge-pages.sh
source "$ROOT/scripts/huge-pages.sh"

MUTANTS=$ROOT/tests/mutants
SRC=$BUILD/qemu/ours/src
OBJ=$BUILD/qemu/ours/obj
WORK=$BUILD/mutants
QEMU=qemu-system-x86_64
LIMIT=120 # seconds for the cases of a program; what hangs has failed
killed=0 survived=0 broken=0 skipped=0
declare -A baseline

tests_of() { sed -n 's/^Test: //p; /^---/q' "$MUTANTS/$1.patch"; }

# list: a table for people.
list() {
    local file name
    printf '| mutant | what it breaks | what fails |\n| --- | --- | --- |\n'
    for file in "$MUTANTS"/*.patch; do
        name=$(basename "$file" .patch)
        printf '| %s | %s | %s |\n' "$name" "$(head -n 1 "$file")" "$(tests_of "$name" | paste -sd ';')"
    done
}

# shellcheck disable=SC2317 # by the trap
finish() {
    give_back_huge_pages
    # What a test that was ended has left there
    awk -v dir="$TMPDIR/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | xargs -r umount || true
    rm -rf "$TMPDIR" "$WORK/made"
}

# commands_of TARGET: how ninja makes it, in $WORK.
commands_of() {
    mkdir -p "$WORK/$(dirname "$1")"
    (cd "$OBJ" && ninja -t commands "$1") >"$WORK/$1.commands"
}

prepare() {
    local test
    mkdir -p "$WORK"
    commands_of "$QEMU"
    # What is linked is in a file that ninja removes, unless it is told not to.
    if [[ ! -e $WORK/$QEMU.rsp || $WORK/$QEMU.rsp -ot $OBJ/build.ninja ]]; then
        rm -f "$OBJ/$QEMU"
        (cd "$OBJ" && ninja -d keeprsp "$QEMU") >"$WORK/link.log"
        mv "$OBJ/$QEMU.rsp" "$WORK/$QEMU.rsp"
    fi
    for test in "$BUILD"/unit/*; do
        commands_of "tests/unit/$(basename "$test")"
    done
}

# compile TARGET FILE: the mutated FILE for that target; prints the object that it is in place of.
compile() {
    local command object
    command=$(grep -m 1 -F -- " -c ../src/$2" "$WORK/$1.commands")
    object=$(sed -E 's/.* -o ([^ ]+) -c .*/\1/' <<<"$command")
    command=${command%% -MD *}
    (cd "$OBJ" && eval "${command#ccache} -iquote $SRC/$(dirname "$2") -o $WORK/made/object.o -c $WORK/made/src/$2") \
        >&2 || return 1
    printf '%s\n' "$object"
}

# link TARGET OBJECT: with the mutated one, into $WORK/made/bin.
link() {
    local what rsp=$WORK/made/rsp name
    name=$(basename "$1")
    if [[ -e $WORK/$1.rsp ]]; then
        what=$(<"$WORK/$1.rsp")
    else
        what=$(tail -n 1 "$WORK/$1.commands")
        what=${what#gcc}
    fi
    sed -E "s#(^| )$2( |\$)#\1$WORK/made/object.o\2#; s#-o $1( |\$)#-o $WORK/made/bin/$name\1#" <<<"$what" >"$rsp"
    # Symbols stay: debuggers of tests call functions by name.
    (cd "$OBJ" && gcc -m64 -Wl,--strip-debug "@$rsp") >&2
}

# make_mutant NAME: QEMU and the unit tests that it names, in build/mutants/made.
make_mutant() {
    local file program object
    file=$(sed -n 's#^+++ b/##p' "$MUTANTS/$1.patch")
    rm -rf "$WORK/made"
    mkdir -p "$WORK/made/bin" "$(dirname "$WORK/made/src/$file")"
    ln -s "$BUILD/share" "$WORK/made/share"
    cp "$SRC/$file" "$WORK/made/src/$file"
    patch -d "$WORK/made/src" -p1 --fuzz=0 -s --force --no-backup-if-mismatch <"$MUTANTS/$1.patch" || return 1
    object=$(compile "$QEMU" "$file") || return 1
    link "$QEMU" "$object" || return 1
    for program in $(tests_of "$1" | sed -n 's#^\(unit/[^ ]*\).*#\1#p'); do
        object=$(compile "tests/$program" "$file") || return 1
        link "tests/$program" "$object" || return 1
    done
}

# run_test BIN PROGRAM CASE...: unit tests are in BIN, as QEMU is; the output goes to build/mutants/test.log.
run_test() {
    local bin=$1 program=$BUILD/$2 args=() leaf leaves test
    [[ $2 != unit/* || $bin == "$BUILD/bin" ]] || program=$bin/$(basename "$2")
    export QTEST_QEMU_BINARY=$bin/$QEMU
    shift 2
    # -p takes what is one level below and no more, and a case that is above others takes them along.
    mapfile -t leaves < <("$program" -l 2>/dev/null | grep '^/' || true)
    for leaf in "${leaves[@]}"; do
        for test in "$@"; do
            [[ ($leaf != "$test" && $leaf != "$test"/*) || " ${args[*]} " == *" ${leaf%/*} "* ]] || args+=(-p "$leaf")
        done
    done
    if ((!${#args[@]})); then
        echo "no such case: $*" >"$WORK/test.log"
        return 1
    fi
    # The shell in between says so there if it dies by a signal.
    sh -c '"$@"; exit $?' sh timeout -k 5 "$LIMIT" "$program" --tap -k "${args[@]}" >"$WORK/test.log" 2>&1
}

# The tests have to pass without a mutant, or their failure would say nothing.
check_baseline() {
    local -a words
    [[ -z ${baseline[$1]:-} ]] || return 0
    read -ra words <<<"$1"
    # shellcheck disable=SC2310 # its answer is looked at
    if ! run_test "$BUILD/bin" "${words[@]}"; then
        baseline[$1]='FAILS WITHOUT IT'
    elif grep -q '^ok.*# SKIP' "$WORK/test.log"; then
        baseline[$1]='is skipped here'
    else
        baseline[$1]=passed
    fi
}

# try NAME: prints what became of it.
try() {
    local name=$1 test result=SURVIVED begin=$SECONDS
    local -a words tests
    mapfile -t tests < <(tests_of "$name")
    for test in "${tests[@]}"; do
        check_baseline "$test"
        if [[ ${baseline[$test]} != passed ]]; then
            printf '%-28s %s: %s\n' "$name" "$test" "${baseline[$test]}"
            [[ ${baseline[$test]} == *skipped* ]] && skipped=$((skipped + 1)) || broken=$((broken + 1))
            return
        fi
    done
    # shellcheck disable=SC2310
    make_mutant "$name" 2>"$WORK/$name.log" || result='CANNOT BE MADE'
    for test in "${tests[@]}"; do
        [[ $result == SURVIVED ]] || break
        read -ra words <<<"$test"
        # shellcheck disable=SC2310
        run_test "$WORK/made/bin" "${words[@]}" || result=killed
        cp "$WORK/test.log" "$WORK/$name.log"
    done
    case $result in
    killed) killed=$((killed + 1)) ;;
    SURVIVED) survived=$((survived + 1)) ;;
    *) broken=$((broken + 1)) ;;
    esac
    printf '%-28s %s (%d s)\n' "$name" "$result" $((SECONDS - begin))
}

if [[ ${1:-} == --list ]]; then
    list
    exit
fi
names=("${@%.patch}")
(($#)) || mapfile -t names < <(cd "$MUTANTS" && printf '%s\n' *.patch | sed 's/\.patch$//')
for name in "${names[@]}"; do
    [[ -e $MUTANTS/$name.patch ]] || die "there is no tests/mutants/$name.patch"
done
prepare
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/sb-XXXXXX")
export TMPDIR
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
lend_huge_pages 160
export QTEST_QEMU_BINARY_STOCK=$BUILD/bin/qemu-system-x86_64-stock
export SB_HOST_LIAR=$BUILD/meson/tests/host-liar.so SB_INJECT=$BUILD/meson/tests/inject.so
for name in "${names[@]}"; do
    try "$name"
done
((!skipped)) || printf '%d not tested, since a test is skipped here\n' "$skipped"
((!broken)) || printf '%d without an answer\n' "$broken"
printf '%d killed, %d survived\n' "$killed" "$survived"
exit $((survived || broken))
