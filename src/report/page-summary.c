/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>

#include "base/size.h"
#include "report/case-results.h"
#include "report/page-sections.h"

/* "; the destination has 543 MiB of memory in use, not 8.03 GiB", or "". */
static char *destination_words(const CaseResults *one, const char *ours)
{
    g_autofree char *less = quantity_bytes(
        case_results_median(one, ours, "destination-after"));
    g_autofree char *more = quantity_bytes(
        case_results_median(one, BUILD_UNMODIFIED, "destination-after"));

    return less && more
        ? g_strdup_printf(" The destination takes %s of its host's memory, "
                          "%s with unmodified QEMU.", less, more)
        : g_strdup("");
}

/* What the same live data costs without a balloon, or "". */
static char *limit_words(const CaseResults *one)
{
    g_autofree char *never = quantity_ms(
        case_results_median(one, BUILD_NEVER, "total-ms"));

    return never
        ? g_strdup_printf(" A guest with the same live data that never had "
                          "a balloon takes %s.", never)
        : g_strdup("");
}

static void add_item(Page *page, const CaseResults *one)
{
    const char *ours = builds_pick_ours(one->builds);
    double ours_ms = case_results_median(one, ours, "total-ms");
    double stock_ms = case_results_median(one, BUILD_UNMODIFIED, "total-ms");
    g_autofree char *ours_text = quantity_ms(ours_ms);
    g_autofree char *stock_text = quantity_ms(stock_ms);
    g_autofree char *ratio = quantity_rough(stock_ms / ours_ms);
    g_autofree char *title = case_results_title(one);
    g_autofree char *place = case_results_place(one);
    g_autofree char *destination = destination_words(one, ours);
    g_autofree char *limit = limit_words(one);
    g_autofree char *item = NULL;

    if (ours_text && stock_text && ratio) {
        item = g_strdup_printf(
            "%s, %s: %s with %s, %s with unmodified QEMU, %s times as "
            "long.%s%s", place, title, ours_text, build_title(ours),
            stock_text, ratio, destination, limit);
        page_list_item(page, item);
    }
}

/* By how much ours are faster, case by case, at least and at most. */
static Spread ratios(const GPtrArray *cases)
{
    g_autoptr(GArray) values = g_array_new(FALSE, FALSE, sizeof(double));

    for (unsigned i = 0; i < cases->len; i++) {
        const CaseResults *one = cases->pdata[i];
        double ratio =
            case_results_median(one, BUILD_UNMODIFIED, "total-ms") /
            case_results_median(one, builds_pick_ours(one->builds), "total-ms");

        if (isfinite(ratio)) {
            g_array_append_val(values, ratio);
        }
    }
    return stats_spread((const double *)values->data, values->len);
}

static void add_sentence(Page *page, const GPtrArray *cases)
{
    Spread spread = ratios(cases);
    g_autofree char *low = quantity_rough(spread.min);
    g_autofree char *high = quantity_rough(spread.max);

    if (spread.n == 1) {
        page_text(page, "Live migration of a guest whose balloon gave memory "
                  "back: unmodified QEMU takes %s times as long as QEMU with "
                  "skip-balloon.", low);
    } else if (spread.n) {
        page_text(page, "Live migration of guests whose balloons gave memory "
                  "back: over %" G_GSIZE_FORMAT " cases, unmodified QEMU "
                  "takes %s to %s times as long as QEMU with skip-balloon.",
                  spread.n, low, high);
    }
}

void page_summary(Page *page, const Results *results)
{
    g_autoptr(GPtrArray) cases = case_results_all(results);
    g_autoptr(GPtrArray) backends = results_distinct(
        results_lines(results, "migration"), "backend");
    bool any = false;

    add_sentence(page, cases);
    for (unsigned i = 0; i < backends->len; i++) {
        const CaseResults *one =
            case_results_pick(cases, backends->pdata[i], "total-ms");

        if (one) {
            if (!any) {
                page_list_begin(page);
            }
            any = true;
            add_item(page, one);
        }
    }
    if (any) {
        page_list_end(page);
    }
}
