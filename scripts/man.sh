#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# man.sh PROGRAM DIRECTORY: man pages (DIRECTORY/man1) and completion for bash (DIRECTORY/completions), from --help.

set -euo pipefail
export LC_ALL=C
program=$1 dir=$2
here=$(dirname "${BASH_SOURCE[0]}")
version=$("$program" --version | cut -d ' ' -f 2)
commands=$("$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
mkdir -p "$dir/man1" "$dir/completions"

page() {
    awk -v name="$1" -v version="$version" -v also="${2:-}" -f "$here/man.awk" > "$dir/man1/$1.1"
}

also=
cases=
for c in $commands; do
    help=$("$program" "$c" --help)
    page "skip-balloon-$c" <<< "$help"
    also+="${also:+, }skip\\\\-balloon\\\\-$c(1)"
    options=$(sed -nE 's/^  (-., )?(--[a-z-]+=?).*/\2/p' <<< "$help")
    cases+="        $c) words='${options//$'\n'/ }' ;;"$'\n'
done
"$program" --help | page skip-balloon "$also"

cat > "$dir/completions/skip-balloon" << END
# bash completion for skip-balloon $version. Made by scripts/man.sh
_skip_balloon() {
    local words= word=\${COMP_WORDS[COMP_CWORD]}
    if ((COMP_CWORD == 1)); then
        words='${commands//$'\n'/ } help --help --version'
    elif [[ \${COMP_WORDS[1]} == help ]]; then
        words='${commands//$'\n'/ }'
    elif [[ \$word == -* ]]; then
        case \${COMP_WORDS[1]} in
$cases        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "\$words" -- "\$word")
    [[ \${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2> /dev/null || true
}
complete -o default -F _skip_balloon skip-balloon
END
