/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef TESTS_LIBVIRT_DOCUMENT_H
#define TESTS_LIBVIRT_DOCUMENT_H

#include <glib.h>
#include <stdbool.h>

/*
 * docs/libvirt.md, whose fenced blocks are what the test runs: "```sh NAME"
 * and "```xml FILE".
 */
typedef struct Document Document;

/**
 * document_read: find the blocks. A block without a name, or code that is not
 * in a block, is an error.
 * @path: the file
 * @error: set to SB_ERROR_MISSING if it cannot be read, to SB_ERROR_PROCESS if
 *         there is something in it that a test could not run
 *
 * Returns: the document, NULL on failure; free it with document_free().
 */
Document *document_read(const char *path, GError **error);

/**
 * document_free: forget it.
 * @document: the document, or NULL
 */
void document_free(Document *document);

/**
 * document_block: a block, which counts as used from now on.
 * @document: the document
 * @language: "sh" or "xml"
 * @name: its name
 * @error: set to SB_ERROR_MISSING if there is no such block
 *
 * Returns: what is between its fences, NULL on failure; not owned.
 */
const char *document_block(Document *document, const char *language,
                           const char *name, GError **error);

/**
 * document_says: whether a text is in the document, word for word.
 * @document: the document
 * @text: the text
 * @error: set to SB_ERROR_MISSING if not
 */
bool document_says(const Document *document, const char *text,
                   GError **error);

/**
 * document_check_used: whether all blocks were used, and whether all commands
 * that are named between blocks are in one of them.
 * @document: the document
 * @error: set to SB_ERROR_MISSING if not
 */
bool document_check_used(const Document *document, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Document, document_free)

#endif /* TESTS_LIBVIRT_DOCUMENT_H */
