/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BARE_MACHINE_H
#define BARE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

/* Where the memory begins that the program does not use; by bare.ld */
extern uint8_t program_end[];

/**
 * guest_main: what the processor does once it is in protected mode.
 */
void guest_main(void) __attribute__((noreturn));

/**
 * machine_memory: how much RAM there is below 4 GiB.
 *
 * Returns: bytes.
 */
uint32_t machine_memory(void);

/**
 * machine_options: what QEMU was given with
 * "-fw_cfg name=opt/skip_balloon,string=OPTIONS".
 *
 * Returns: the string, "" without such an argument.
 */
const char *machine_options(void);

/**
 * machine_rest: do nothing for a while.
 * @times: how often to look at a device, which takes microseconds each time
 */
void machine_rest(uint32_t times);

/**
 * machine_program: the first word of this program, in its ROM.
 */
const uint32_t *machine_program(void);

/**
 * machine_device_write: have a device write to memory: fw_cfg, some of the list
 * of its files.
 * @where: the memory
 * @length: bytes
 *
 * Returns: whether it did so.
 */
bool machine_device_write(void *where, uint32_t length);

/**
 * machine_halt: stop the processor for good.
 */
void machine_halt(void) __attribute__((noreturn));

#endif /* BARE_MACHINE_H */
