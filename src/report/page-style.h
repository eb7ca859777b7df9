/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_PAGE_STYLE_H
#define SKIP_BALLOON_REPORT_PAGE_STYLE_H

/* What its colours are, light and dark; a style sheet, too. */
extern const char page_colours[];

/* The style sheet of the report: light, dark, phone, desktop and print. */
extern const char page_style[];

#endif /* SKIP_BALLOON_REPORT_PAGE_STYLE_H */
