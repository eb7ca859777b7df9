/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that checks itself, without an operating system: it gives memory
 * back and takes it back by virtio-balloon, writes to it, and reads all of it
 * again and again. Everything follows from a seed. It talks as
 * guest/protocol.rst says.
 *
 * A guest that lies uses memory that it gave back, without telling. One that
 * is cautious does not read what it took back before it has written to it.
 */
#include <stddef.h>

#include "balloon.h"
#include "disk.h"
#include "machine.h"
#include "pages.h"
#include "second.h"
#include "serial.h"

#define MIB (1u << 20)
/* Memory that the host lets go of at a time is at most so large. */
#define ALIGNMENT (2 * MIB)
#define STEPS_IN_A_TICK 8
/* Of the steps of a course, one in so many reads all memory. */
#define STEPS_IN_A_ROUND 512
/* And of a guest that lies, one in so many is a rush. */
#define STEPS_IN_A_RUSH 32
/* One that is asked for lasts so long that a migration begins in its midst. */
#define RESTS_IN_A_RUSH 4
/* The length of most stretches of memory, and of a few */
#define SHORT_STRETCH 64
#define LONG_STRETCH 2048
#define WRITTEN_STRETCH 32
#define NAME "skip_balloon."

typedef struct Stretch {
    uint32_t start;
    uint32_t end;
} Stretch;

static uint32_t random_state;
static bool lies;
static bool is_cautious;
static bool gives_unused;
/* What is behind these pages was given back at the start, and stays so. */
static uint32_t used_pages;
static uint32_t given;
static uint32_t request[BALLOON_REQUEST_MAX];

/* xorshift32, "Xorshift RNGs", G. Marsaglia, 2003 */
static uint32_t random_below(uint32_t end)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state % end;
}

/* ---- The options ---- */

/* What follows @start in a text that begins so, NULL in others */
static const char *after(const char *text, const char *start)
{
    while (*start && *text == *start) {
        text++;
        start++;
    }
    return *start ? NULL : text;
}

static bool starts_with(const char *text, const char *start)
{
    return after(text, start);
}

/* The value of an option, NULL if it is not there. */
static const char *find_option(const char *line, const char *name)
{
    const char *value = NULL;

    for (const char *s = line; *s && !value; s++) {
        const char *option = after(s, NAME);

        value = option ? after(option, name) : NULL;
    }
    return value;
}

/* A number with K or M behind it */
static uint32_t parse_size(const char *s)
{
    uint32_t value = 0;

    for (; *s >= '0' && *s <= '9'; s++) {
        value = value * 10 + *s - '0';
    }
    return *s == 'K' ? value << 10 : *s == 'M' ? value << 20 : value;
}

static uint32_t size_option(const char *line, const char *name,
                            uint32_t preset)
{
    const char *s = find_option(line, name);

    return s ? parse_size(s) : preset;
}

static bool option_is(const char *line, const char *name, const char *value)
{
    const char *s = find_option(line, name);

    return s && starts_with(s, value);
}

/* ---- The balloon ---- */

static void shuffle(uint32_t *numbers, uint32_t n)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = random_below(i);
        uint32_t number = numbers[j];

        numbers[j] = numbers[i - 1];
        numbers[i - 1] = number;
    }
}

static void reverse(uint32_t *numbers, uint32_t n)
{
    for (uint32_t i = 0; i < n / 2; i++) {
        uint32_t number = numbers[i];

        numbers[i] = numbers[n - 1 - i];
        numbers[n - 1 - i] = number;
    }
}

/* A page that is zero before tells nothing when it has been let go of. */
static void use_before_giving(uint32_t page)
{
    if (pages_is_given(page) || gives_unused) {
        return;
    }
    pages_check(page);
    if (pages_is_zero(page)) {
        pages_patch(page);
    }
}

/*
 * Whether the host lets go of memory is the same for all of a request, so one
 * page tells of the others, which need not be read and so populated.
 */
static void note_what_is_gone(const Stretch *part, uint32_t sample)
{
    pages_check(sample);
    if (pages_is_vague(sample)) {
        return;
    }
    for (uint32_t page = part->start; page < part->end; page++) {
        if (pages_is_given(page) && pages_is_vague(page)) {
            pages_let_go(page);
        }
    }
}

/* Give back or take back at most one request's worth of a stretch. */
static void balloon_part(Stretch part, bool inflate, uint32_t order)
{
    bool all_new = true;
    uint32_t n = 0;

    for (uint32_t page = part.start; page < part.end; page++) {
        /* Only a guest that lies gives back what it has given back. */
        if (pages_is_given(page) == inflate &&
            !(inflate && lies && !pages_is_vague(page))) {
            all_new = all_new && !inflate;
            continue;
        }
        if (inflate) {
            use_before_giving(page);
            all_new = all_new && !pages_is_given(page);
            given += !pages_is_given(page);
            pages_give(page);
        }
        request[n++] = pages_number(page);
    }
    if (!n) {
        return;
    }
    if (order == 1) {
        reverse(request, n);
    } else if (order == 2) {
        shuffle(request, n);
    }
    if (inflate) {
        balloon_inflate(request, n);
        if (lies && all_new && pages_unit() == 1 && random_below(2)) {
            note_what_is_gone(&part, part.start + random_below(n));
        }
        return;
    }
    balloon_deflate(request, n);
    for (uint32_t page = part.start; page < part.end; page++) {
        if (pages_is_given(page)) {
            pages_take(page);
            given--;
            if (is_cautious) {
                pages_fill(page);
            }
        }
    }
}

/* Part by part, in one of three orders: up, down, at random. */
static void balloon_stretch(Stretch all, bool inflate)
{
    uint32_t order = gives_unused ? 0 : random_below(3);
    uint32_t length = all.end - all.start;
    uint32_t n = (length + BALLOON_REQUEST_MAX - 1) / BALLOON_REQUEST_MAX;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t start = all.start + (order == 1 ? n - 1 - i : i) *
                         BALLOON_REQUEST_MAX;
        uint32_t end = start + BALLOON_REQUEST_MAX;

        balloon_part((Stretch) { start, end < all.end ? end : all.end },
                     inflate, order);
    }
    balloon_tell_size(given);
}

/* ---- The course ---- */

static Stretch random_stretch(uint32_t longest)
{
    uint32_t start = random_below(used_pages);
    uint32_t length = 1 + random_below(longest);
    uint32_t rest = used_pages - start;

    return (Stretch) { start, start + (length < rest ? length : rest) };
}

/* Whole units now and then, or huge pages would never be let go of. */
static Stretch balloon_candidate(void)
{
    Stretch stretch;

    if (random_below(pages_unit() > 1 ? 3 : 8)) {
        return random_stretch(SHORT_STRETCH);
    }
    stretch = random_stretch(LONG_STRETCH);
    if (random_below(2)) {
        stretch.start -= stretch.start % (ALIGNMENT / PAGE_SIZE);
    }
    return stretch;
}

static bool may_use(uint32_t page)
{
    return !pages_is_given(page) || (lies && !pages_is_vague(page));
}

static void write_stretch(Stretch stretch)
{
    uint32_t kind = random_below(8);

    for (uint32_t page = stretch.start; page < stretch.end; page++) {
        if (!may_use(page)) {
            continue;
        }
        if (kind == 0) {
            pages_clear(page);
        } else if (kind == 1 || pages_is_vague(page)) {
            pages_fill(page);
        } else {
            pages_patch(page);
        }
    }
}

/* A guest that lies also reads what it gave back, and so may populate it. */
static void check_stretch(Stretch stretch, bool also_given)
{
    for (uint32_t page = stretch.start; page < stretch.end; page++) {
        if (may_use(page) || also_given) {
            pages_check(page);
        }
    }
}

static void check_all(void)
{
    check_stretch((Stretch) { 0, used_pages }, false);
}

/* Give back half of what is used, so that it is known what is let go of. */
static void give_half(void)
{
    const Stretch half = { 0, used_pages / 2 };

    /* What has not been taken back before stays vague. */
    balloon_stretch(half, false);
    balloon_stretch(half, true);
}

/* Use all that was given back, a word of each page, and rest after each. */
static void use_given(uint32_t rests)
{
    uint32_t start = random_below(used_pages);

    for (uint32_t i = 0; i < used_pages; i++) {
        uint32_t page = (start + i) % used_pages;

        if (pages_is_given(page) && !pages_is_vague(page)) {
            pages_patch(page);
            machine_rest(rests);
        }
    }
}

/*
 * What a migration decides about a page is decided within microseconds, and
 * other steps take milliseconds. So either use all that was given back as fast
 * as can be, or give it all back, to be used later.
 */
static void rush(void)
{
    if (random_below(2)) {
        give_half();
    } else {
        use_given(0);
    }
}

static void take_a_step(void)
{
    if (lies && !random_below(STEPS_IN_A_RUSH)) {
        rush();
    }
    switch (random_below(4)) {
    case 0:
        balloon_stretch(balloon_candidate(), random_below(100) < 60);
        break;
    case 1:
        write_stretch(random_stretch(WRITTEN_STRETCH));
        break;
    case 2:
        check_stretch(random_stretch(SHORT_STRETCH), false);
        break;
    default:
        if (lies) {
            check_stretch(random_stretch(WRITTEN_STRETCH / 4), true);
        }
        write_stretch(random_stretch(WRITTEN_STRETCH / 4));
    }
    if (!random_below(STEPS_IN_A_ROUND)) {
        check_all();
    }
}

/* ---- Use of what was given back, without telling ---- */

static void sweep(uint32_t start, uint32_t end)
{
    for (uint32_t page = start; page < end; page++) {
        if (pages_is_given(page)) {
            pages_use(page);
        }
    }
}

static void sweep_second_half(void)
{
    sweep(pages_count() / 2, pages_count());
}

/* All of it, by all processors */
static void sweep_all(void)
{
    bool helped = second_begin(sweep_second_half);

    sweep(0, helped ? pages_count() / 2 : pages_count());
    if (helped) {
        second_end();
    }
    serial_print("SB SWEEP ok processors=%u uses=%u", 1 + helped,
                 pages_uses());
}

/* Here and there */
static void use_some(uint32_t times)
{
    while (times--) {
        uint32_t page = random_below(pages_count());

        if (pages_is_given(page)) {
            pages_use(page);
        }
    }
    serial_print("SB USE ok uses=%u", pages_uses());
}

/* A page that was given back, and has not been used since */
static void use_by_device(PagesDevice *device, const char *name)
{
    uint32_t before = pages_uses();
    uint32_t page = 0;

    while (page < pages_count() && !pages_is_unused(page)) {
        page++;
    }
    if (page < pages_count() && pages_device_write(page, device) &&
        pages_uses() > before) {
        serial_print("SB %s ok uses=%u", name, pages_uses());
    } else {
        serial_print("SB %s bad", name);
    }
}

/* The disk is this program, so what it has to read is known. */
static bool read_disk(void *where, uint32_t length)
{
    return disk_start() && disk_read(where, length) &&
           *(const uint32_t *)where == *machine_program();
}

/* ---- Commands ---- */

static void give_back(uint32_t bytes)
{
    uint32_t n = bytes / PAGE_SIZE;
    uint32_t end = n < pages_count() ? n : pages_count();

    balloon_stretch((Stretch) { 0, end }, true);
    serial_print("SB GIVE ok pages=%u", given);
}

static void obey(const char *command, bool *active)
{
    if (starts_with(command, "verify")) {
        check_all();
        serial_print("SB VERIFY ok pages=%u given=%u", pages_count() - given,
                     given);
    } else if (starts_with(command, "course ")) {
        *active = starts_with(command, "course on");
        serial_print("SB COURSE ok %s", *active ? "on" : "off");
    } else if (starts_with(command, "rush")) {
        /* It is answered first, so that a migration begins in the midst. */
        give_half();
        serial_print("SB RUSH ok");
        use_given(RESTS_IN_A_RUSH);
    } else if (starts_with(command, "give ")) {
        give_back(parse_size(command + sizeof("give ") - 1));
    } else if (starts_with(command, "sweep")) {
        sweep_all();
    } else if (starts_with(command, "use ")) {
        use_some(parse_size(command + sizeof("use ") - 1));
    } else if (starts_with(command, "device")) {
        use_by_device(machine_device_write, "DEVICE");
    } else if (starts_with(command, "disk")) {
        use_by_device(read_disk, "DISK");
    } else {
        serial_print("SB UNKNOWN %s", command);
    }
}

/* ---- Start ---- */

static void start_pages(const char *line, uint32_t end)
{
    uint32_t table = (uintptr_t)program_end;
    uint32_t most = pages_table_size(end / PAGE_SIZE);
    uint32_t base = (table + most + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    uint32_t workset = size_option(line, "workset=", end - base);
    uint32_t unit = size_option(line, "unit=", PAGE_SIZE);

    if (base >= end || workset > end - base) {
        serial_print("SB ERROR there are %u bytes of memory to check",
                     base < end ? end - base : 0);
        machine_halt();
    }
    pages_start(base, workset / PAGE_SIZE, unit / PAGE_SIZE, program_end);
    used_pages = pages_count();
}

void guest_main(void)
{
    const char *line = machine_options();
    uint32_t kib = machine_memory() / 1024;
    bool active = !option_is(line, "course=", "none");
    uint32_t step = 0;

    serial_print("SB BOOT total=%u KiB", kib);
    random_state = size_option(line, "seed=", 1) * 2654435769u | 1;
    lies = option_is(line, "course=", "lying");
    is_cautious = option_is(line, "course=", "cautious");
    gives_unused = option_is(line, "unused=", "on");
    start_pages(line, kib * 1024);
    if (!balloon_start()) {
        serial_print("SB ERROR there is no virtio-balloon device");
        machine_halt();
    }
    if (active) {
        used_pages = pages_count() / 4 * 3;
        balloon_stretch((Stretch) { used_pages, pages_count() }, true);
        balloon_stretch((Stretch) { 0, used_pages / 2 }, true);
    }
    serial_print("SB READY total=%u workset=%u KiB must_tell_host=%s",
                 kib,
                 pages_count() * (PAGE_SIZE / 1024),
                 balloon_must_tell_host() ? "on" : "off");
    for (;;) {
        const char *command = serial_poll_line();

        if (command) {
            obey(command, &active);
        }
        if (active) {
            take_a_step();
        }
        if (!(++step % STEPS_IN_A_TICK)) {
            serial_print("SB TICK %u ok", step / STEPS_IN_A_TICK);
        }
    }
}
