/*
 * Reading guest RAM for people, without populating it
 *
 * What reads all guest RAM on the host (dump-guest-memory, pmemsave, memsave)
 * would populate what the guest gave back or never used: shared memory by any
 * access, private memory where the kernel maps no page of zeroes.  A reader
 * asks the host first, and takes for zero what is certainly not populated.
 * Whatever is not certain is read.
 *
 * An answer is true when the host is asked.  What the guest, or another
 * process, writes after that may be missing: to the one who reads, it was
 * written later.
 *
 * A reader belongs to one command, and is used by one thread at a time.  RAM
 * blocks that it is asked about must neither be resized nor go away as long as
 * it is used: hold the BQL, or references to their memory regions.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_RAM_READER_H
#define SYSTEM_RAM_READER_H

typedef struct RamReader RamReader;

/**
 * ram_reader_is_zero: buffer_is_zero(), which does not populate
 * @reader: the reader, made at the first use if it is NULL
 * @buf: what to look at; need not be guest RAM
 * @size: bytes
 */
bool ram_reader_is_zero(RamReader **reader, const void *buf, size_t size);

/**
 * ram_reader_write_full: qemu_write_full(), which does not populate
 * @reader: as above; or NULL, if this is all that is written in one command
 * @fd: where to write to
 * @buf: what to write; need not be guest RAM
 * @size: bytes
 *
 * What is not populated becomes a hole where the file can have one: a regular
 * file that ends where the first write begins.  A hole at the end is part of
 * the file once the reader is freed.
 *
 * Returns: bytes written; if fewer than @size, errno says why
 */
size_t ram_reader_write_full(RamReader **reader, int fd, const void *buf,
                             size_t size);

/**
 * ram_reader_save: Write what can be written of memory in this way to a file
 * @f: the file, to which everything else is written by the caller
 * @cpu: whose virtual addresses @addr are; NULL for physical ones
 * @addr: where to begin; moved on
 * @size: bytes; becomes what is left
 *
 * It ends before what is no RAM, and where there is an error, and leaves it to
 * the caller to come upon it.
 *
 * Called with the BQL held.
 *
 * Returns: whether anything is left
 */
bool ram_reader_save(FILE *f, CPUState *cpu, uint64_t *addr, uint64_t *size);

/**
 * ram_reader_free: Free what *@reader is, and make it NULL
 *
 * The file that it wrote to has to be open still.
 */
void ram_reader_free(RamReader **reader);

#endif
