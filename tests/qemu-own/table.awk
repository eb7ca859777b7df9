# SPDX-License-Identifier: GPL-2.0-or-later
#
# Results (variant, program, case, result, attempt), then cases (variant, program, case, ...), to a table: how many,
# what differs, and all. Ends with 1 if ours is worse than stock.

function row(key) {
    return sprintf("%-9s | %-9s | %-9s | %s\n", result["stock", key], result["ours", key], result["forced", key], key)
}

function worse(key,    forced) {
    if (result["stock", key] !~ /^pass/)
        return 0
    forced = result["forced", key]
    return result["ours", key] !~ /^pass/ || forced ~ /fail|timeout|skip|none/
}

{
    key = $2 " " $3
    sub(/^tests\//, "", key)
}

# The last attempt counts.
NR == FNR {
    result[$1, key] = $4 == "pass" && failed[$1, key] ? "pass at " $5 : $4
    if ($4 ~ /fail|timeout/)
        failed[$1, key] = 1
    next
}

{
    if (!(($1, key) in result))
        result[$1, key] = "none"
    if (!(key in known)) {
        known[key] = 1
        keys[++n] = key
    }
}

END {
    split("stock ours forced", variants, " ")
    for (i = 1; i <= n; i++) {
        key = keys[i]
        for (v = 1; v <= 3; v++) {
            variant = variants[v]
            if (!((variant, key) in result))
                result[variant, key] = "-"
            kind = result[variant, key]
            sub(/ at .*/, "", kind)
            count[variant, kind]++
        }
        all = all row(key)
        if (worse(key)) {
            bad++
            worst = worst row(key)
        } else if (result["stock", key] != result["ours", key] ||
                   result["forced", key] != "-" && result["forced", key] != result["ours", key]) {
            other = other row(key)
        }
    }
    kinds = split("pass skip refused KVM fail timeout none -", kind_of, " ")
    printf "%-16s %9s %9s %9s\n", "", "stock", "ours", "forced"
    for (k = 1; k <= kinds; k++)
        printf "%-16s %9d %9d %9d\n", kind_of[k], count["stock", kind_of[k]], count["ours", kind_of[k]],
            count["forced", kind_of[k]]
    printf "%d cases, %d of them worse than in the unmodified build\n", n, bad
    print "refused: by us, since the case has to do with a capability that ours do not go with. KVM: cannot run here."
    print "pass at N: at the Nth attempt, after it failed; from the third on alone. -: not there, or not run."
    print ""
    print "Worse than in the unmodified build:"
    printf "%s\n", worst
    print "Other differences:"
    printf "%s\n", other
    print "unmodified | ours     | forced on | test"
    printf "%s", all
    exit bad > 0
}
