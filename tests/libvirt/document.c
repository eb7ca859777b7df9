/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/libvirt/document.h"

#include <string.h>

#include "base/error.h"

#define FENCE "```"
/* Of a command that nobody could run here; the line before says so. */
#define NOT_TRIED "ot tried"

typedef struct Block {
    char *head;                 /* "sh NAME" */
    GString *text;
    bool used;
} Block;

struct Document {
    char *text;
    GPtrArray *blocks;
    GString *prose;             /* all that is between the blocks */
};

static void block_free(void *opaque)
{
    Block *block = opaque;

    g_free(block->head);
    g_string_free(block->text, TRUE);
    g_free(block);
}

void document_free(Document *document)
{
    if (!document) {
        return;
    }
    g_free(document->text);
    g_ptr_array_unref(document->blocks);
    g_string_free(document->prose, TRUE);
    g_free(document);
}

static bool fail(GError **error, const char *what, const char *line)
{
    g_set_error(error, SB_ERROR, SB_ERROR_PROCESS, "the document: %s: '%s'",
                what, line);
    return false;
}

/* A fence that begins a block. */
static bool begin_block(Document *document, const char *line,
                        const char *before, Block **block, GError **error)
{
    const char *head = line + strlen(FENCE);

    if (!g_regex_match_simple("^(sh|xml) [a-z.-]+$|^$", head, 0, 0)) {
        return fail(error, "a block that a test cannot run", line);
    }
    if (!head[0] && !strstr(before, NOT_TRIED)) {
        return fail(error, "a block that no test runs, and that does not "
                    "say so", before);
    }
    *block = g_new0(Block, 1);
    (*block)->head = g_strdup(head);
    (*block)->text = g_string_new(NULL);
    (*block)->used = !head[0];
    g_ptr_array_add(document->blocks, *block);
    return true;
}

static bool parse(Document *document, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(document->text, "\n", -1);
    const char *before = "";
    Block *block = NULL;

    for (char **line = lines; *line; line++) {
        if (block && g_str_has_prefix(*line, FENCE)) {
            block = NULL;
        } else if (block) {
            g_string_append_printf(block->text, "%s\n", *line);
        } else if (g_str_has_prefix(*line, FENCE)) {
            if (!begin_block(document, *line, before, &block, error)) {
                return false;
            }
        } else if (g_str_has_prefix(*line, "    ") || strstr(*line, FENCE)) {
            return fail(error, "code outside of a block", *line);
        } else {
            g_string_append_printf(document->prose, "%s\n", *line);
            before = (*line)[0] ? *line : before;
        }
    }
    return !block || fail(error, "a block without an end", block->head);
}

Document *document_read(const char *path, GError **error)
{
    g_autoptr(Document) document = g_new0(Document, 1);
    g_autoptr(GError) reason = NULL;

    document->blocks = g_ptr_array_new_with_free_func(block_free);
    document->prose = g_string_new(NULL);
    if (!g_file_get_contents(path, &document->text, NULL, &reason)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING, "%s", reason->message);
        return NULL;
    }
    return parse(document, error) ? g_steal_pointer(&document) : NULL;
}

const char *document_block(Document *document, const char *language,
                           const char *name, GError **error)
{
    g_autofree char *head = g_strdup_printf("%s %s", language, name);

    for (unsigned i = 0; i < document->blocks->len; i++) {
        Block *block = document->blocks->pdata[i];

        if (!strcmp(block->head, head)) {
            block->used = true;
            return block->text->str;
        }
    }
    g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                "the document has no block '%s'", head);
    return NULL;
}

bool document_says(const Document *document, const char *text, GError **error)
{
    if (!strstr(document->text, text)) {
        g_set_error(error, SB_ERROR, SB_ERROR_MISSING,
                    "the document does not say '%s'", text);
        return false;
    }
    return true;
}

/* Whether a command that is named between blocks is one of those that ran. */
static bool check_named(const Document *document, const char *command,
                        GError **error)
{
    for (unsigned i = 0; i < document->blocks->len; i++) {
        const Block *block = document->blocks->pdata[i];

        if (strstr(block->text->str, command)) {
            return true;
        }
    }
    return fail(error, "a command that is in no block", command);
}

bool document_check_used(const Document *document, GError **error)
{
    g_autoptr(GRegex) named = g_regex_new(
        "`((virsh|skip-balloon) [^`]+)`", 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;

    for (unsigned i = 0; i < document->blocks->len; i++) {
        const Block *block = document->blocks->pdata[i];

        if (!block->used) {
            return fail(error, "a step that no test has run", block->head);
        }
    }
    for (g_regex_match(named, document->prose->str, 0, &match);
         g_match_info_matches(match); g_match_info_next(match, NULL)) {
        g_autofree char *command = g_match_info_fetch(match, 1);

        if (!check_named(document, command, error)) {
            return false;
        }
    }
    return true;
}
