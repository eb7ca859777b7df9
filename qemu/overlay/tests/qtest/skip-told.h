/*
 * What the parts of skip-told-test share
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_SKIP_TOLD_H
#define TESTS_SKIP_TOLD_H

#include "unpopulated-guest.h"

/*
 * Bytes per second: a pass over what the guest writes to all the time, 160
 * pages, takes more than 0.1 s; as few as QEMU lets it be, about 1.3 MB
 */
#define TOLD_STEADY (6 * MiB)
#define TOLD_SLOW (100 * 1024)

/* Memory of the guest: parts, and above them what keeps a pass busy */
#define TOLD_PART(n) (8 * MiB + (n) * PART_SIZE)
#define TOLD_BALLAST (16 * MiB)
#define TOLD_BALLAST_SIZE (4 * MiB)

/* A guest that writes to memory for ever, and where it is to move */
typedef struct ToldMove {
    BGuest *source;
    BGuest *dest;               /* does not run once it has arrived */
} ToldMove;

/**
 * told_start: Start both; the source's guest drives its balloon device
 * @options: of both
 */
ToldMove told_start(const BGOptions *options);

/**
 * told_begin: Start a migration that does not end before told_finish()
 * @bandwidth: bytes per second; 0 is without limit
 */
void told_begin(ToldMove *m, uint64_t bandwidth);

/**
 * told_finish: Let the migration end, and wait for that
 */
void told_finish(ToldMove *m);

void told_end(ToldMove *m);

void told_set_bandwidth(BGuest *g, uint64_t bytes);

/**
 * told_fill_ballast: Write one value to a range, whole MiB
 */
void told_fill_ballast(BGuest *g, uint64_t start, uint64_t size, uint8_t value);

/**
 * told_passes: How often the dirty bitmap has been synchronized
 */
int64_t told_passes(BGuest *g);

/**
 * told_wait_passes: Wait until that has been done @n times more
 */
void told_wait_passes(BGuest *g, int64_t n);

/**
 * told_wait_content: Wait until a range holds what bg_fill() writes
 */
void told_wait_content(BGuest *g, uint64_t start, uint64_t length,
                       uint8_t seed);

/* The parts of skip-told-test */
void told_add_channel_tests(void);
void told_add_file_tests(void);
void told_add_size_tests(void);
void told_add_timer_tests(void);
void told_add_used_tests(void);

#endif
