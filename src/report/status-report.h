/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_REPORT_STATUS_REPORT_H
#define SKIP_BALLOON_REPORT_STATUS_REPORT_H

#include "map/forecast.h"

/**
 * status_report_text: a QEMU's state and what a migration would do, for
 * people.
 * @state: the state
 * @forecast: what was made of it
 *
 * Returns: lines of text; the caller frees them.
 */
char *status_report_text(const QemuState *state, const Forecast *forecast);

/**
 * status_report_add_forecast: the last lines of it, what a migration would do.
 * @text: what to add them to
 * @forecast: the forecast
 */
void status_report_add_forecast(GString *text, const Forecast *forecast);

/**
 * status_report_remedy: why a capability is disabled, and what to do about it.
 * @state: the state
 * @reason: neither FORECAST_ACTIVE nor FORECAST_CAPABILITY_OFF
 *
 * Returns: a line.
 */
const char *status_report_remedy(const QemuState *state, ForecastReason reason);

/**
 * status_report_json: the same for programs, as docs/operating.md says: one
 * JSON object on a line.
 * @state: the state
 * @forecast: what was made of it
 *
 * Returns: a new string; the caller frees it.
 */
char *status_report_json(const QemuState *state, const Forecast *forecast);

#endif /* SKIP_BALLOON_REPORT_STATUS_REPORT_H */
