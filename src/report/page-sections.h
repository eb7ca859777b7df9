/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_PAGE_SECTIONS_H
#define SKIP_BALLOON_REPORT_PAGE_SECTIONS_H

#include "bench/results.h"
#include "report/page.h"

/*
 * The sections of the report. Each adds nothing where there is no line that
 * it could show.
 */

/**
 * page_summary: in a few sentences, what came out.
 * @page: the page
 * @results: what was measured; outlives the page
 */
void page_summary(Page *page, const Results *results);

/**
 * page_cases: all builds side by side, case by case: table and charts.
 * @page: the page
 * @results: what was measured
 */
void page_cases(Page *page, const Results *results);

/**
 * page_course: memory of both hosts in the course of migrations.
 * @page: the page
 * @results: what was measured
 */
void page_course(Page *page, const Results *results);

/**
 * page_maps: where the guests' memory went.
 * @page: the page
 * @results: what was measured
 */
void page_maps(Page *page, const Results *results);

/**
 * page_growth: what a GiB in the balloon costs, and a run of it.
 * @page: the page
 * @results: what was measured
 */
void page_growth(Page *page, const Results *results);

/**
 * page_scale: large guests, at the level of devices.
 * @page: the page
 * @results: what was measured
 */
void page_scale(Page *page, const Results *results);

/**
 * page_rates: how fast the balloon device serves requests.
 * @page: the page
 * @results: what was measured
 */
void page_rates(Page *page, const Results *results);

/**
 * page_model: what larger guests would take, by calculation.
 * @page: the page
 * @results: what was measured
 */
void page_model(Page *page, const Results *results);

/**
 * page_circumstances: what was left out, where all this ran, how to repeat
 * it, and lines that could not be used.
 * @page: the page
 * @results: what was measured
 */
void page_circumstances(Page *page, const Results *results);

#endif /* SKIP_BALLOON_REPORT_PAGE_SECTIONS_H */
