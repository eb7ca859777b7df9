/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/map/answer.h"

#include "base/size.h"

#define PAGE 4096
#define CELL (2 * SIZE_MIB)
#define PAGES (CELL / PAGE)

static const char *const names[] = { "ballooned", "unpopulated", "skipped" };

MemoryMap *map_answer_parse(const char *json)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) error = NULL;
    MemoryMap *map = NULL;

    if (json_parser_load_from_data(parser, json, -1, &error)) {
        map = memory_map_parse(json_parser_get_root(parser), &error);
    }
    if (!map) {
        g_error("%s", error->message);
    }
    return map;
}

/* The same numbers in each run, which need not be good ones. */
static unsigned chance(unsigned *state, unsigned limit)
{
    *state = *state * 1664525 + 1013904223;
    return (*state >> 16) % limit;
}

/* The numbers of a cell, in the order of names[]. */
static void make_cell(unsigned i, unsigned cells, unsigned *seed,
                      unsigned numbers[3])
{
    static const struct {
        double from, to;
    } runs[] = { { .014, .22 }, { .235, .61 }, { .625, .87 }, { .885, .985 } };
    double at = (double)i / cells;
    unsigned kind = chance(seed, 20);

    numbers[0] = numbers[1] = numbers[2] = 0;
    for (unsigned j = 0; j < G_N_ELEMENTS(runs); j++) {
        if (at >= runs[j].from && at < runs[j].to && kind) {
            numbers[0] = numbers[1] = numbers[2] = PAGES;
            return;
        }
    }
    if (kind < 3) {
        numbers[1] = numbers[2] = PAGES;
    } else if (kind < 4) {
        numbers[0] = numbers[1] = PAGES;
    } else {
        numbers[1] = chance(seed, 40);
    }
}

static void add_block(JsonBuilder *builder, const char *id, uint64_t size,
                      unsigned *seed)
{
    unsigned cells = (size - 1) / CELL + 1;
    unsigned seed_at_start = *seed;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "id");
    json_builder_add_string_value(builder, id);
    json_builder_set_member_name(builder, "size");
    json_builder_add_int_value(builder, size);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        json_builder_set_member_name(builder, names[i]);
        json_builder_begin_array(builder);
        *seed = seed_at_start;
        for (unsigned j = 0; j < cells; j++) {
            unsigned numbers[3];

            make_cell(j, cells, seed, numbers);
            json_builder_add_int_value(builder,
                                       MIN(numbers[i], size / PAGE));
        }
        json_builder_end_array(builder);
    }
    json_builder_end_object(builder);
}

char *map_answer_plausible(void)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(JsonNode) root = NULL;
    unsigned seed = 4711;

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "page-size");
    json_builder_add_int_value(builder, PAGE);
    json_builder_set_member_name(builder, "cell-size");
    json_builder_add_int_value(builder, CELL);
    json_builder_set_member_name(builder, "recorded");
    json_builder_add_boolean_value(builder, TRUE);
    json_builder_set_member_name(builder, "blocks");
    json_builder_begin_array(builder);
    add_block(builder, "ram0", 8 * SIZE_GIB, &seed);
    add_block(builder, "vga.vram", 16 * SIZE_MIB, &seed);
    add_block(builder, "0000:00:02.0/vga.rom", 64 * SIZE_KIB, &seed);
    add_block(builder, "pc.bios", 256 * SIZE_KIB, &seed);
    add_block(builder, "/rom@etc/acpi/tables", 128 * SIZE_KIB, &seed);
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    root = json_builder_get_root(builder);
    return json_to_string(root, FALSE);
}
