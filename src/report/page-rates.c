/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <math.h>

#include "base/size.h"
#include "report/build-name.h"
#include "report/page-sections.h"

#define PAGE_BYTES 4096

/* In GiB a second, the median; NAN if not measured. */
static double rate_of(const GPtrArray *lines, const char *build)
{
    g_autoptr(GPtrArray) some = results_where(lines, "build", build);
    g_autoptr(GArray) rates = g_array_new(FALSE, FALSE, sizeof(double));

    for (unsigned i = 0; i < some->len; i++) {
        double rate = result_number(some->pdata[i], "pages") * PAGE_BYTES /
                      SIZE_GIB /
                      (result_number(some->pdata[i], "total-ms") / 1e3);

        if (isfinite(rate)) {
            g_array_append_val(rates, rate);
        }
    }
    return stats_median((const double *)rates->data, rates->len);
}

static void add_row(Page *page, const GPtrArray *lines, const char *operation,
                    const char *pattern)
{
    g_autoptr(GPtrArray) of_operation = results_where(lines, "operation",
                                                      operation);
    g_autoptr(GPtrArray) some = results_where(of_operation, "pattern",
                                              pattern);
    g_autofree char *title = g_strdup_printf("%s, %s", operation, pattern);
    double off = rate_of(some, BUILD_UNMODIFIED);
    double on = rate_of(some, "skip-balloon");

    if (some->len) {
        page_row(page, -1, title);
        page_cell(page, quantity_fixed(off, 2));
        page_cell(page, quantity_fixed(on, 2));
        page_cell(page, quantity_rough(on / off));
    }
}

static void add_backend(Page *page, const GPtrArray *all, const char *backend)
{
    g_autoptr(GPtrArray) lines = results_where(all, "backend", backend);
    g_autoptr(GPtrArray) operations = results_distinct(lines, "operation");
    g_autoptr(GPtrArray) patterns = results_distinct(lines, "pattern");

    page_table_group(page, backend);
    for (unsigned i = 0; i < operations->len; i++) {
        for (unsigned j = 0; j < patterns->len; j++) {
            add_row(page, lines, operations->pdata[i], patterns->pdata[j]);
        }
    }
}

void page_rates(Page *page, const Results *results)
{
    static const char *const headings[] = {
        "", "unmodified|GiB a second", "skip-balloon|GiB a second", "ratio",
        NULL
    };
    const GPtrArray *all = results_lines(results, "rate");
    g_autoptr(GPtrArray) backends = results_distinct(all, "backend");

    if (!backends->len) {
        return;
    }
    page_heading(page, 2, "Inflating and deflating");
    page_text(page, "How fast the balloon device serves the requests of a "
              "driver, without a guest, by the order of the pages in them.");
    page_table_begin(page, "Rates of the balloon device, medians", headings);
    for (unsigned i = 0; i < backends->len; i++) {
        add_backend(page, all, backends->pdata[i]);
    }
    page_table_end(page);
}
