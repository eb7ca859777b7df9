/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_BROWSER_H
#define TESTS_BROWSER_H

#include <glib.h>
#include <json-glib/json-glib.h>

/*
 * A headless Chromium with one page, driven over its DevTools protocol through
 * a pipe. What goes wrong between it and us ends the test program.
 */
typedef struct Browser Browser;

/**
 * browser_find: where Chromium is.
 *
 * Returns: a new string, NULL if it is not installed; the caller frees it.
 */
char *browser_find(void);

/**
 * browser_start: start it, with a profile of its own, and open an empty page.
 * @program: of browser_find()
 *
 * Returns: the browser; end it with browser_stop().
 */
Browser *browser_start(const char *program);

/**
 * browser_stop: end it; its profile goes as well.
 * @browser: the browser, or NULL
 */
void browser_stop(Browser *browser);

/**
 * browser_call: a command to the page.
 * @browser: the browser
 * @method: such as "Page.reload"
 * @params: a JSON object, or NULL
 *
 * Returns: the result; the caller unrefs it.
 */
JsonObject *browser_call(Browser *browser, const char *method,
                         const char *params);

/**
 * browser_open: open a file and wait until it is loaded; earlier complaints
 * are forgotten.
 * @browser: the browser
 * @path: the file, absolute
 */
void browser_open(Browser *browser, const char *path);

/**
 * browser_view: how large the window is.
 * @browser: the browser
 * @width, @height: in pixels of CSS
 * @phone: whether it is one
 */
void browser_view(Browser *browser, unsigned width, unsigned height,
                  gboolean phone);

/**
 * browser_media: what the page is for.
 * @browser: the browser
 * @media: "screen" or "print"
 * @scheme: "light" or "dark"
 */
void browser_media(Browser *browser, const char *media, const char *scheme);

/**
 * browser_evaluate: have JavaScript evaluated; an exception ends the test.
 * @browser: the browser
 * @expression: of a string
 *
 * Returns: the string; the caller frees it.
 */
char *browser_evaluate(Browser *browser, const char *expression);

/**
 * browser_complaints: all that the page wrote to the console, exceptions, and
 * requests for anything but the file, since it was opened.
 * @browser: the browser
 *
 * Returns: lines of text, "" if there are none; the caller frees them.
 */
char *browser_complaints(Browser *browser);

/**
 * browser_save: the page as a picture or a document.
 * @browser: the browser
 * @method: "Page.captureScreenshot" or "Page.printToPDF"
 * @params: as for browser_call()
 * @path: where to put it
 */
void browser_save(Browser *browser, const char *method, const char *params,
                  const char *path);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Browser, browser_stop)

#endif /* TESTS_BROWSER_H */
