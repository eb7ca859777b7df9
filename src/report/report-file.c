/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report/report-file.h"

#include <stdio.h>

#include "base/error.h"
#include "report/page-sections.h"

#define TITLE "skip-balloon: results of the benchmark"

Results *report_file_load(char **files, GError **error)
{
    g_autoptr(Results) results = results_new();
    const GPtrArray *warnings = results_warnings(results);

    for (char **file = files; *file; file++) {
        if (!results_load(results, *file, error)) {
            return NULL;
        }
    }
    for (unsigned i = 0; i < warnings->len; i++) {
        fprintf(stderr, "%s: warning: %s\n", g_get_prgname(),
                (char *)warnings->pdata[i]);
    }
    if (!results_count(results)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "there are no results in '%s'%s; 'skip-balloon bench' "
                    "writes them", files[0],
                    files[1] ? " and the others" : "");
        return NULL;
    }
    return g_steal_pointer(&results);
}

static char *make_page(Session *session, const Results *results,
                       GError **error)
{
    static void (*const sections[])(Page *, const Results *) = {
        page_summary, page_cases, page_course, page_maps, page_growth,
        page_scale, page_rates, page_model, page_circumstances,
    };
    Page *page = page_new(session, TITLE);

    progress_begin(session->progress, "report: draw the charts");
    for (unsigned i = 0; i < G_N_ELEMENTS(sections); i++) {
        sections[i](page, results);
        progress_update(session->progress,
                        (i + 1.0) / G_N_ELEMENTS(sections));
    }
    return page_finish(page, error);
}

bool report_file_write(Session *session, const Results *results,
                       const char *output, GError **error)
{
    g_autofree char *html = make_page(session, results, error);

    if (!html) {
        return false;
    }
    if (!g_file_set_contents(output, html, -1, error)) {
        g_prefix_error(error, "the report cannot be written: ");
        return false;
    }
    progress_end(session->progress, output);
    return true;
}
