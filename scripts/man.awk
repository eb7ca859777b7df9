# SPDX-License-Identifier: GPL-2.0-or-later
#
# What a command's --help says, as a man page. -v name=skip-balloon-map -v version=0.1.0; for the program itself
# -v name=skip-balloon.

function escape(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    return text ~ /^[.']/ ? "\\&" text : text
}

BEGIN {
    printf ".\\\" Made by scripts/man.sh\n.TH %s 1 \"\" \"skip-balloon %s\"\n", toupper(escape(name)), version
    if (name == "skip-balloon")
        printf ".SH NAME\nskip\\-balloon \\- migrate QEMU guests without what their balloons took away\n.SH SYNOPSIS\n"
}

/^Usage:$/ { next }

# "  skip-balloon map [OPTION...] - show where it went": the second line
NR == 2 && name != "skip-balloon" {
    split($0, parts, " - ")
    sub(/^ */, "", parts[1])
    printf ".SH NAME\n%s \\- %s\n.SH SYNOPSIS\n%s\n.SH DESCRIPTION\n", escape(name), escape(parts[2]), escape(parts[1])
    next
}

/^Usage: / {
    sub(/^Usage: /, "")
    printf "%s\n.SH DESCRIPTION\n", escape($0)
    next
}

/^(Application )?Options:$/ { print ".SH OPTIONS"; in_list = 1; next }
/^Commands:$/ { print ".SH COMMANDS"; in_list = 1; next }

in_list && /^  / {
    line = substr($0, 3)
    at = match(line, /  +/)
    printf ".TP\n%s\n%s\n", escape(substr(line, 1, at - 1)), escape(substr(line, at + RLENGTH))
    next
}

/^$/ {
    # What follows the options belongs to the description.
    if (in_list) {
        in_list = 0
        print ".SH NOTES"
    } else if (NR > 3)
        print ".PP"
    next
}

{ print escape($0) }

END {
    print ".SH SEE ALSO"
    print name == "skip-balloon" ? also : "skip\\-balloon(1)"
}
