/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "tests/map/answer.h"

/* Each in the order of MemoryCounts and MemoryState. */
static const struct {
    MemoryCounts counts;
    bool recorded;
    uint64_t pages[MEMORY_STATES];
} deals[] = {
    /* pages B U K */
    { { 9, 0, 0, 0 }, true, { 0, 0, 0, 9, 0 } },
    { { 9, 0, 0, 0 }, false, { 0, 0, 0, 0, 9 } },
    { { 9, 9, 9, 9 }, true, { 9, 0, 0, 0, 0 } },
    { { 9, 9, 9, 4 }, true, { 4, 5, 0, 0, 0 } },
    { { 9, 8, 8, 0 }, false, { 0, 8, 0, 0, 1 } },
    /* in the balloon, populated, and sent for that */
    { { 9, 9, 0, 0 }, true, { 0, 9, 0, 0, 0 } },
    /* more than the balloon is unpopulated, and skipped */
    { { 9, 3, 7, 7 }, true, { 3, 0, 4, 2, 0 } },
    { { 9, 0, 7, 7 }, true, { 0, 0, 7, 2, 0 } },
    /* unpopulated, and sent as zeroes */
    { { 9, 0, 7, 3 }, true, { 0, 0, 7, 2, 0 } },
    /* skipped, and used since */
    { { 9, 0, 0, 6 }, true, { 6, 0, 0, 3, 0 } },
    { { 9, 2, 3, 6 }, true, { 5, 0, 1, 3, 0 } },
    /* all that can be said of a page */
    { { 1, 1, 1, 1 }, true, { 1, 0, 0, 0, 0 } },
};

static void test_deal(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(deals); i++) {
        uint64_t pages[MEMORY_STATES];

        memory_state_deal(&deals[i].counts, deals[i].recorded, pages);
        for (unsigned j = 0; j < MEMORY_STATES; j++) {
            g_test_message("case %u, %s", i, memory_state_name(j, true));
            g_assert_cmpuint(pages[j], ==, deals[i].pages[j]);
        }
    }
}

/* Whatever QEMU counts, each page gets a state, and none gets two. */
static void test_deal_all(void)
{
    const unsigned n = 3;

    for (unsigned i = 0; i < 128; i++) {
        MemoryCounts counts = { n, i & 3, i >> 2 & 3, i >> 4 & 3 };
        uint64_t pages[MEMORY_STATES];
        uint64_t sum = 0;

        memory_state_deal(&counts, i >> 6, pages);
        for (unsigned j = 0; j < MEMORY_STATES; j++) {
            g_assert_cmpuint(pages[j], <=, n);
            sum += pages[j];
        }
        g_assert_cmpuint(sum, ==, n);
    }
}

static void test_state(void)
{
    const MemoryCounts even = { .pages = 4, .skipped = 2 };
    const MemoryCounts most = { .pages = 5, .skipped = 2 };

    g_assert_cmpint(memory_state_of(&even, true), ==, MEMORY_SKIPPED);
    g_assert_cmpint(memory_state_of(&most, true), ==, MEMORY_SENT);
    g_assert_cmpint(memory_state_of(&most, false), ==, MEMORY_IN_USE);
}

static void check_states(const MemoryBlock *block,
                         const MemoryState *expected, unsigned n)
{
    g_assert_cmpuint(block->n_cells, ==, n);
    for (unsigned i = 0; i < n; i++) {
        g_test_message("cell %u", i);
        g_assert_cmpint(memory_state_of(&block->cells[i], block->has_record),
                        ==, expected[i]);
    }
}

static void test_parse(void)
{
    static const MemoryState states[] = {
        MEMORY_SKIPPED, MEMORY_BALLOONED, MEMORY_UNPOPULATED, MEMORY_SENT,
        MEMORY_SENT, MEMORY_SKIPPED,
    };
    static const MemoryState unrecorded[] = { MEMORY_IN_USE, MEMORY_IN_USE };
    g_autoptr(MemoryMap) map = map_answer_parse(MAP_ANSWER_STATES);
    const MemoryBlock *block = map->blocks->pdata[0];
    const MemoryBlock *second = map->blocks->pdata[1];

    g_assert_cmpuint(map->page_size, ==, 4096);
    g_assert_cmpuint(map->cell_size, ==, 8192);
    g_assert_cmpuint(map->size, ==, 65536);
    g_assert_true(map->recorded);
    g_assert_cmpuint(map->blocks->len, ==, 2);
    g_assert_cmpstr(block->id, ==, "ram0");
    g_assert_true(block->has_unpopulated && block->has_ballooned);
    g_assert_true(block->has_record && !second->has_record);
    check_states(block, states, G_N_ELEMENTS(states));
    check_states(second, unrecorded, G_N_ELEMENTS(unrecorded));
}

/* Before, QEMU also counted how pages were sent. */
static void test_parse_old(void)
{
    static const MemoryState expected[] = { MEMORY_SKIPPED, MEMORY_SENT };
    g_autoptr(MemoryMap) map = map_answer_parse(
        "{\"page-size\": 4096, \"cell-size\": 8192, \"recorded\": true,"
        " \"blocks\": [{\"id\": \"a\", \"size\": 16384,"
        " \"ballooned\": [2, 0], \"unpopulated\": [2, 0],"
        " \"skipped\": [2, 0], \"zero\": [0, 1], \"sent\": [0, 1],"
        " \"sent-again\": [0, 1]}]}");

    check_states(map->blocks->pdata[0], expected, G_N_ELEMENTS(expected));
}

/* What may be missing, what is to be ignored, and a last cell that is small. */
static void test_parse_little(void)
{
    g_autoptr(MemoryMap) map = map_answer_parse(
        "{\"page-size\": 4096, \"cell-size\": 8192, \"recorded\": false,"
        " \"more\": 1, \"blocks\": [{\"id\": \"a\\u0007\\u001bb\","
        " \"size\": 12288, \"skipped\": \"what\"},"
        " {\"id\": \"b\", \"size\": 1, \"unpopulated\": [1]}]}");
    const MemoryBlock *first = map->blocks->pdata[0];
    const MemoryBlock *second = map->blocks->pdata[1];

    g_assert_false(map->recorded);
    g_assert_cmpstr(first->id, ==, "a??b");
    g_assert_false(first->has_unpopulated || first->has_ballooned);
    g_assert_cmpuint(first->n_cells, ==, 2);
    g_assert_cmpuint(first->cells[0].pages, ==, 2);
    g_assert_cmpuint(first->cells[1].pages, ==, 1);
    g_assert_true(second->has_unpopulated);
    g_assert_cmpuint(second->cells[0].pages, ==, 1);
    g_assert_cmpint(memory_state_of(&second->cells[0], false), ==,
                    MEMORY_UNPOPULATED);
}

static void test_totals(void)
{
    g_autofree char *json = map_answer_plausible();
    g_autoptr(MemoryMap) map = map_answer_parse(json);
    uint64_t bytes[MEMORY_STATES];

    g_assert_cmpuint(map->blocks->len, ==, 5);
    g_assert_true(memory_map_shows(map, map->blocks->pdata[0]));
    for (unsigned i = 1; i < map->blocks->len; i++) {
        g_assert_false(memory_map_shows(map, map->blocks->pdata[i]));
    }
    g_assert_cmpuint(memory_map_totals(map, bytes), ==, 8 * SIZE_GIB);
    g_assert_cmpuint(bytes[MEMORY_SKIPPED], >, 7 * SIZE_GIB);
}

static void test_totals_each(void)
{
    g_autoptr(MemoryMap) map = map_answer_parse(MAP_ANSWER_STATES);
    uint64_t bytes[MEMORY_STATES];

    g_assert_cmpuint(memory_map_totals(map, bytes), ==, 65536);
    for (MemoryState i = 0; i < MEMORY_STATES; i++) {
        g_assert_cmpuint(bytes[i], ==, i == MEMORY_BALLOONED ||
                         i == MEMORY_UNPOPULATED ? 8192 : 16384);
    }
}

/* Even if each is a small share of all memory. */
static void test_many_blocks(void)
{
    g_autoptr(GString) json = g_string_new("{\"page-size\": 4096,"
        " \"cell-size\": 4096, \"recorded\": false, \"blocks\": [");
    g_autoptr(MemoryMap) map = NULL;
    uint64_t bytes[MEMORY_STATES];

    for (unsigned i = 0; i < 300; i++) {
        g_string_append_printf(json, "%s{\"id\": \"%u\", \"size\": 4096}",
                               i ? "," : "", i);
    }
    g_string_append(json, "]}");
    map = map_answer_parse(json->str);
    g_assert_cmpuint(memory_map_totals(map, bytes), ==, 300 * 4096);
}

/* What is wrong with an answer when a part of a good one is replaced. */
static const struct {
    const char *part;
    const char *by;
    const char *complaint;
} bad[] = {
    { MAP_ANSWER_STATES, "[]", "no object" },
    { MAP_ANSWER_STATES, "{}", "'page-size' is missing" },
    { MAP_ANSWER_STATES, "null", "no object" },
    { "\"page-size\": 4096", "\"page-size\": \"4096\"", "'page-size'" },
    { "\"page-size\": 4096", "\"page-size\": 0", "'page-size'" },
    { "\"page-size\": 4096", "\"page-size\": -4096", "'page-size'" },
    { "\"page-size\": 4096", "\"page-size\": 4096.5", "'page-size'" },
    { "\"cell-size\": 8192", "\"x\": 0", "'cell-size' is missing" },
    { "\"cell-size\": 8192", "\"cell-size\": 0", "'cell-size'" },
    { "\"cell-size\": 8192", "\"cell-size\": 5000", "'cell-size'" },
    { "\"recorded\": true,", "", "'recorded' is missing" },
    { "\"recorded\": true", "\"recorded\": 1", "'recorded' is neither" },
    { "\"blocks\":", "\"blocs\":", "'blocks' is missing" },
    { "\"blocks\": [{", "\"blocks\": 1, \"x\": [{", "'blocks' is not" },
    { "\"blocks\": [{", "\"blocks\": [], \"x\": [{", "'blocks' is empty" },
    { "\"blocks\": [{", "\"blocks\": [7, {", "one of 'blocks'" },
    { "\"id\": \"ram0\"", "\"id\": 7", "no 'id'" },
    { "\"id\": \"ram0\",", "", "no 'id'" },
    { "\"id\": \"ram0\"", "\"id\": \"\"", "no 'id'" },
    { "\"size\": 49152", "\"size\": 0", "'size' of block 'ram0'" },
    { "\"size\": 49152", "\"size\": -1", "'size'" },
    { "\"size\": 49152", "\"size\": {}", "'size'" },
    { "\"size\": 49152", "\"size\": 49153", "6 numbers" },
    { "\"size\": 49152", "\"size\": 40960", "6 numbers" },
    { "\"size\": 49152", "\"size\": 9223372036854775807", "more than" },
    { "[2, 2, 0, 0, 0, 2]", "[]", "'ballooned' of block 'ram0'" },
    { "[2, 2, 0, 0, 0, 2]", "2", "'ballooned' is not an array" },
    { "[2, 2, 2, 0", "[2, 2, 2, 3", "'unpopulated' of block 'ram0'" },
    { "[2, 0, 2,", "[2, -1, 2,", "'skipped' of block 'ram0'" },
    { "[2, 0, 2,", "[2, 1e3, 2,", "for cell 1" },
    { "[2, 0, 2,", "[2, 0, \"0\",", "for cell 2" },
    { "[2, 0, 2,", "[null, 0, 2,", "'skipped'" },
    { "[2, 0, 2,", "[[0], 0, 2,", "'skipped' of block" },
};

static void test_bad(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_auto(GStrv) parts = g_strsplit(MAP_ANSWER_STATES, bad[i].part, 2);
        g_autofree char *json = g_strjoinv(bad[i].by, parts);
        g_autoptr(JsonParser) parser = json_parser_new();
        g_autoptr(GError) error = NULL;

        g_assert_nonnull(parts[1]);
        g_test_message("%s", json);
        json_parser_load_from_data(parser, json, -1, &error);
        g_assert_no_error(error);
        g_assert_null(memory_map_parse(json_parser_get_root(parser), &error));
        g_assert_error(error, SB_ERROR, SB_ERROR_QMP);
        if (!strstr(error->message, bad[i].complaint)) {
            g_test_fail_printf("no '%s' in '%s'", bad[i].complaint,
                               error->message);
        }
    }
}

/* Sizes that wrap around, if nobody takes care. */
static void test_overflow(void)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) error = NULL;

    json_parser_load_from_data(parser,
        "{\"page-size\": 4611686018427387904,"
        " \"cell-size\": 4611686018427387904, \"recorded\": false,"
        " \"blocks\": [{\"id\": \"a\", \"size\": 9223372036854775807},"
        "              {\"id\": \"b\", \"size\": 9223372036854775807},"
        "              {\"id\": \"c\", \"size\": 9223372036854775807}]}",
        -1, &error);
    g_assert_no_error(error);
    g_assert_null(memory_map_parse(json_parser_get_root(parser), &error));
    g_assert_error(error, SB_ERROR, SB_ERROR_QMP);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory-map/deal", test_deal);
    g_test_add_func("/memory-map/deal-all", test_deal_all);
    g_test_add_func("/memory-map/state", test_state);
    g_test_add_func("/memory-map/parse", test_parse);
    g_test_add_func("/memory-map/parse-old", test_parse_old);
    g_test_add_func("/memory-map/parse-little", test_parse_little);
    g_test_add_func("/memory-map/totals", test_totals);
    g_test_add_func("/memory-map/totals-each", test_totals_each);
    g_test_add_func("/memory-map/many-blocks", test_many_blocks);
    g_test_add_func("/memory-map/bad", test_bad);
    g_test_add_func("/memory-map/overflow", test_overflow);
    return g_test_run();
}
