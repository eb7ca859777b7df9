/*
 * Populated: does the host have memory, or swap, behind a page of guest RAM?
 *
 * Pure logic over Linux system calls: no QEMU type, no locking.  Asking does
 * not populate anything.  An answer holds for the moment of the question;
 * who may still write to the memory has to be tracked by the caller from
 * before it asks.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_POPULATED_H
#define MIGRATION_POPULATED_H

/* How guest RAM is mapped; decides whom to ask. */
typedef struct PopulatedMemory {
    void *host;             /* start of the mapping, aligned to @page_size */
    uint64_t length;        /* bytes, a multiple of @page_size */
    uint64_t page_size;     /* bytes: host page, or huge page of hugetlbfs */
    uint64_t host_page_size; /* bytes */
    int fd;                 /* the file behind it, -1 if there is none */
    uint64_t fd_offset;     /* where in the file the mapping starts */
    bool shared;            /* MAP_SHARED */
} PopulatedMemory;

/* What the answers are for; decides how much it may cost to be certain. */
typedef enum PopulatedUse {
    /*
     * Whether to skip a page.  "Not populated" is certain, or the page holds
     * zeroes at this moment: where nobody else can tell, the file is read,
     * about 0.1 s a GiB, or -EAGAIN is the answer.
     */
    POPULATED_TO_SKIP,
    /*
     * Whether a page has to be dropped, or is shown to people.  "Not populated"
     * is certain; where it takes long to be, -EAGAIN is the answer, since to
     * drop costs less.
     */
    POPULATED_TO_DROP,
} PopulatedUse;

typedef struct PopulatedScan PopulatedScan;

/**
 * populated_init: Open what asking needs, as long as the process still may
 *
 * Optional.  A process that is going to drop privileges, or to change its
 * root directory, calls it before it does so.
 */
void populated_init(void);

/**
 * populated_scan_new: Prepare to ask for one mapping
 * @mem: the mapping; it must stay as described until the scan is freed
 * @use: what the answers are for
 *
 * Returns: the scan, owned by the caller; never NULL
 */
PopulatedScan *populated_scan_new(const PopulatedMemory *mem,
                                  PopulatedUse use);

/**
 * populated_scan_free: Free @scan; NULL is allowed
 */
void populated_scan_free(PopulatedScan *scan);

/**
 * populated_scan_denied: Is it for /proc/self/pagemap that nobody can be asked?
 * @scan: the scan
 *
 * Returns: 0 if somebody can, or if there is another reason; otherwise a
 * negative errno, which is why it could not be opened
 */
int populated_scan_denied(const PopulatedScan *scan);

/**
 * populated_scan_mapped: How much do the page tables of this process know?
 * @scan: the scan, of memory in huge pages
 *
 * Too little, if anything is being moved or another process populated it.
 *
 * Returns: bytes, or a negative errno
 */
int64_t populated_scan_mapped(PopulatedScan *scan);

/**
 * populated_scan_count: Look at all huge pages at once, to be certain
 * @scan: the scan, of memory in huge pages of hugetlbfs
 * @elsewhere: of a private mapping, bytes of huge pages that this process has
 *             mapped elsewhere; else 0
 *
 * Page tables may be wrong about huge pages that the kernel moves, and do not
 * know those that another process (a vhost-user back end) has populated.  But
 * if they know as many as there are, nothing was missing.  That takes about
 * 20 ms for a TiB.  From then on, answers are what was found out by it; without
 * it, what the page tables call empty is read from the file or, of a private
 * mapping, -EAGAIN is the answer.
 *
 * Nothing may be discarded meanwhile, and the caller has to track who writes to
 * any of the memory that it is going to ask about.
 *
 * Returns: 0 if the count was right, -EAGAIN if not, or another negative errno
 */
int populated_scan_count(PopulatedScan *scan, uint64_t elsewhere);

/**
 * populated_scan_window: Forget earlier answers, and say how far to look
 * @scan: the scan
 * @limit: byte offset up to which the coming answers may be looked up ahead
 *
 * A scan reads ahead, to need few system calls where runs are short.  What
 * it read before the caller began to track writes must not be used: open a
 * window once the tracking of everything below @limit is armed.
 */
void populated_scan_window(PopulatedScan *scan, uint64_t limit);

/**
 * populated_scan_next: Is the memory from @from on populated, and how far?
 * @scan: the scan
 * @from: byte offset to start at, a multiple of 4096
 * @to: byte offset to stop at, at most the limit of the window
 * @end: filled in with how far the answer goes, more than @from and at most
 *       @to; what follows may have the same answer
 *
 * One call takes about a millisecond at most.
 *
 * Returns: 1 if [@from, @end) is populated, 0 if it is not, or a negative errno
 * if the host cannot tell: -ERANGE if @to is beyond the limit, -EAGAIN if it
 * seems not to be, but that is not certain, -ENOTSUP for shared memory without
 * a file descriptor, and for files whose file system does not tell holes
 * reliably.
 */
int populated_scan_next(PopulatedScan *scan, uint64_t from, uint64_t to,
                        uint64_t *end);

/**
 * populated_is_resident: Is memory of this process in memory at the moment?
 * @host: where it is
 * @size: bytes
 *
 * No lock is needed.
 *
 * Returns: whether all of it is; what is swapped out, or missing, is not
 */
bool populated_is_resident(const void *host, size_t size);

/**
 * populated_read_resident: Read memory of this process, unless that takes I/O
 * @host: where it is
 * @buf: where to put it
 * @size: bytes
 *
 * What is not in memory at the moment is not read.  The kernel reads it, so
 * that memory that has failed does not end the process.
 *
 * Returns: whether all of it was read
 */
bool populated_read_resident(const void *host, void *buf, size_t size);

/**
 * populated_scan_calls: How many system calls @scan has made so far
 */
uint64_t populated_scan_calls(const PopulatedScan *scan);

#endif
