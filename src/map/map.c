/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/map.h"

#include <stddef.h>
#include <string.h>

#include "base/error.h"

/* A block that is smaller than this share of the largest is not shown. */
#define SMALL_SHARE 256
/* Longer than QEMU allows names of RAM blocks to be. */
#define MAX_ID 255

G_GNUC_PRINTF(2, 3)
static bool refuse(GError **error, const char *format, ...)
{
    g_autofree char *what = NULL;
    va_list args;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, SB_ERROR, SB_ERROR_QMP,
                "this is no answer of query-migration-map: %s", what);
    return false;
}

static bool node_holds(JsonNode *node, GType type)
{
    return node && JSON_NODE_HOLDS_VALUE(node) &&
           json_node_get_value_type(node) == type;
}

/* A whole number that is not negative. */
static bool get_number(JsonObject *object, const char *name, uint64_t *value,
                       GError **error)
{
    JsonNode *node = json_object_get_member(object, name);

    if (!node_holds(node, G_TYPE_INT64) || json_node_get_int(node) < 0) {
        return refuse(error, "'%s' is %s", name, node ? "not a size" :
                      "missing");
    }
    *value = json_node_get_int(node);
    return true;
}

static bool get_array(JsonObject *object, const char *name, JsonArray **array,
                      GError **error)
{
    JsonNode *node = json_object_get_member(object, name);

    if (!node || !JSON_NODE_HOLDS_ARRAY(node)) {
        return refuse(error, "'%s' is %s", name, node ? "not an array" :
                      "missing");
    }
    *array = json_node_get_array(node);
    return true;
}

static void block_free(MemoryBlock *block)
{
    g_free(block->id);
    g_free(block->cells);
    g_free(block);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MemoryBlock, block_free)

static bool parse_counts(MemoryBlock *block, const char *name, size_t offset,
                         JsonArray *array, GError **error)
{
    if (json_array_get_length(array) != block->n_cells) {
        return refuse(error, "'%s' of block '%s' has %u numbers, not one for "
                      "each of %u cells", name, block->id,
                      json_array_get_length(array), block->n_cells);
    }
    for (unsigned i = 0; i < block->n_cells; i++) {
        JsonNode *node = json_array_get_element(array, i);
        MemoryCounts *cell = &block->cells[i];

        if (!node_holds(node, G_TYPE_INT64) || json_node_get_int(node) < 0 ||
            (uint64_t)json_node_get_int(node) > cell->pages) {
            return refuse(error, "'%s' of block '%s' has for cell %u "
                          "something else than a number of pages from 0 to %"
                          G_GUINT64_FORMAT, name, block->id, i, cell->pages);
        }
        *(uint64_t *)((char *)cell + offset) = json_node_get_int(node);
    }
    return true;
}

/* The counts at an offset in MemoryCounts; sets @there to whether there are. */
static bool parse_member(MemoryBlock *block, JsonObject *object,
                         const char *name, size_t offset, bool *there,
                         GError **error)
{
    JsonArray *array;

    *there = json_object_has_member(object, name);
    return !*there || (get_array(object, name, &array, error) &&
                       parse_counts(block, name, offset, array, error));
}

static bool parse_members(const MemoryMap *map, MemoryBlock *block,
                          JsonObject *object, GError **error)
{
    return parse_member(block, object, "ballooned",
                        offsetof(MemoryCounts, ballooned),
                        &block->has_ballooned, error) &&
           parse_member(block, object, "unpopulated",
                        offsetof(MemoryCounts, unpopulated),
                        &block->has_unpopulated, error) &&
           (!map->recorded ||
            parse_member(block, object, "skipped",
                         offsetof(MemoryCounts, skipped),
                         &block->has_record, error));
}

/* Numbers that QEMUs without this version of the command do not tell */
static bool parse_number(JsonObject *object, const char *name,
                         uint64_t *number, GError **error)
{
    return !json_object_has_member(object, name) ||
           get_number(object, name, number, error);
}

static bool parse_numbers(MemoryBlock *block, JsonObject *object,
                          GError **error)
{
    block->has_both = json_object_has_member(object,
                                             "ballooned-unpopulated");
    return parse_number(object, "host-page-size", &block->host_page_size,
                        error) &&
           parse_number(object, "ballooned-unpopulated", &block->both,
                        error) &&
           parse_number(object, "zeroes", &block->zeroes, error);
}

static bool parse_id(MemoryBlock *block, JsonObject *object, GError **error)
{
    JsonNode *node = json_object_get_member(object, "id");

    if (!node_holds(node, G_TYPE_STRING) || !json_node_get_string(node)[0] ||
        strlen(json_node_get_string(node)) > MAX_ID) {
        return refuse(error, "a block has no 'id'");
    }
    block->id = g_utf8_make_valid(json_node_get_string(node), -1);
    for (char *c = block->id; *c; c = g_utf8_next_char(c)) {
        /* What would move the cursor, or is no XML. */
        if (!g_unichar_isprint(g_utf8_get_char(c))) {
            memset(c, '?', g_utf8_next_char(c) - c);
        }
    }
    return true;
}

static void cut_into_cells(const MemoryMap *map, MemoryBlock *block)
{
    uint64_t left = block->size;

    block->cells = g_new0(MemoryCounts, block->n_cells);
    for (unsigned i = 0; i < block->n_cells; i++) {
        uint64_t size = MIN(left, map->cell_size);

        block->cells[i].pages = (size - 1) / map->page_size + 1;
        left -= size;
    }
}

static bool parse_size(MemoryMap *map, MemoryBlock *block, unsigned *cells,
                       JsonObject *object, GError **error)
{
    uint64_t needed;

    if (!get_number(object, "size", &block->size, error)) {
        return false;
    }
    if (!block->size || !g_uint64_checked_add(&map->size, map->size,
                                              block->size)) {
        return refuse(error, "the 'size' of block '%s' cannot be", block->id);
    }
    needed = (block->size - 1) / map->cell_size + 1;
    if (needed > MEMORY_MAP_MAX_CELLS - *cells) {
        return refuse(error, "it has more than %d cells",
                      MEMORY_MAP_MAX_CELLS);
    }
    map->largest = MAX(map->largest, block->size);
    block->n_cells = needed;
    *cells += needed;
    cut_into_cells(map, block);
    return true;
}

static bool parse_block(MemoryMap *map, JsonNode *node, unsigned *cells,
                        GError **error)
{
    g_autoptr(MemoryBlock) block = g_new0(MemoryBlock, 1);
    JsonObject *object;

    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        return refuse(error, "one of 'blocks' is no object");
    }
    object = json_node_get_object(node);
    if (!parse_id(block, object, error) ||
        !parse_size(map, block, cells, object, error) ||
        !parse_members(map, block, object, error) ||
        !parse_numbers(block, object, error)) {
        return false;
    }
    g_ptr_array_add(map->blocks, g_steal_pointer(&block));
    return true;
}

static bool parse_header(MemoryMap *map, JsonObject *object, GError **error)
{
    JsonNode *recorded = json_object_get_member(object, "recorded");
    JsonNode *inhibited = json_object_get_member(object, "discard-inhibited");
    JsonNode *denied = json_object_get_member(object, "pagemap-denied");

    if (!get_number(object, "page-size", &map->page_size, error) ||
        !get_number(object, "cell-size", &map->cell_size, error)) {
        return false;
    }
    if (!map->page_size || !map->cell_size ||
        map->cell_size % map->page_size) {
        return refuse(error, "'cell-size' is not a multiple of 'page-size'");
    }
    if (!node_holds(recorded, G_TYPE_BOOLEAN)) {
        return refuse(error, "'recorded' is %s", recorded ?
                      "neither true nor false" : "missing");
    }
    map->recorded = json_node_get_boolean(recorded);
    map->has_inhibited = node_holds(inhibited, G_TYPE_BOOLEAN);
    map->discard_inhibited = map->has_inhibited &&
                             json_node_get_boolean(inhibited);
    map->pagemap_denied = node_holds(denied, G_TYPE_BOOLEAN) &&
                          json_node_get_boolean(denied);
    return true;
}

MemoryMap *memory_map_parse(JsonNode *answer, GError **error)
{
    g_autoptr(MemoryMap) map = g_new0(MemoryMap, 1);
    JsonArray *blocks;
    JsonObject *object;
    unsigned cells = 0;

    map->blocks = g_ptr_array_new_with_free_func((GDestroyNotify)block_free);
    if (!JSON_NODE_HOLDS_OBJECT(answer)) {
        refuse(error, "it is no object");
        return NULL;
    }
    object = json_node_get_object(answer);
    if (!parse_header(map, object, error) ||
        !get_array(object, "blocks", &blocks, error)) {
        return NULL;
    }
    for (unsigned i = 0; i < json_array_get_length(blocks); i++) {
        if (!parse_block(map, json_array_get_element(blocks, i), &cells,
                         error)) {
            return NULL;
        }
    }
    if (!map->blocks->len) {
        refuse(error, "'blocks' is empty");
        return NULL;
    }
    return g_steal_pointer(&map);
}

void memory_map_free(MemoryMap *map)
{
    if (map) {
        g_ptr_array_unref(map->blocks);
        g_free(map);
    }
}

bool memory_map_shows(const MemoryMap *map, const MemoryBlock *block)
{
    return block->size >= map->largest / SMALL_SHARE;
}

/* The last page of a block may be cut short, if its size is odd. */
static void add_block(const MemoryMap *map, const MemoryBlock *block,
                      uint64_t bytes[MEMORY_STATES])
{
    uint64_t pages[MEMORY_STATES];

    for (unsigned i = 0; i < block->n_cells; i++) {
        memory_state_deal(&block->cells[i], block->has_record, pages);
        for (unsigned j = 0; j < MEMORY_STATES; j++) {
            bytes[j] += pages[j] * map->page_size;
        }
    }
}

uint64_t memory_map_totals(const MemoryMap *map,
                           uint64_t bytes[MEMORY_STATES])
{
    uint64_t sum = 0;

    memset(bytes, 0, MEMORY_STATES * sizeof(bytes[0]));
    for (unsigned i = 0; i < map->blocks->len; i++) {
        const MemoryBlock *block = map->blocks->pdata[i];

        if (memory_map_shows(map, block)) {
            add_block(map, block, bytes);
        }
    }
    for (unsigned i = 0; i < MEMORY_STATES; i++) {
        sum += bytes[i];
    }
    return sum;
}
