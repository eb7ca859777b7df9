/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How the guest starts, and what it asks the PC about itself. It replaces the
 * firmware, which takes seconds where a processor without paging is emulated.
 *
 * The processor starts in real mode at the reset vector; the guest runs in
 * protected mode, without paging, with flat segments.
 */
#include "machine.h"

#include <stdbool.h>

#include "port.h"

#define STRING(x) #x
#define VALUE(x) STRING(x)

/* Where bare.ld puts the section .boot, in the ROM of 64 KiB */
#define BOOT_OFFSET 0xff00
#define STACK_SIZE 16384

/* CMOS: RAM between 16 MiB and 4 GiB in units of 64 KiB, two bytes */
#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
#define CMOS_MEMORY_LOW 0x34
#define CMOS_MEMORY_HIGH 0x35
#define CMOS_MEMORY_START (16u << 20)
#define CMOS_MEMORY_SHIFT 16

/* By bare.ld */
#define PROGRAM_START 0xf0000

/* QEMU's docs/specs/fw_cfg.rst */
#define FW_CFG_SELECTOR 0x510
#define FW_CFG_DATA 0x511
#define FW_CFG_DMA_HIGH 0x514
#define FW_CFG_DMA_LOW 0x518
#define FW_CFG_DMA_ERROR 1u
#define FW_CFG_DMA_READ 2u
#define FW_CFG_DMA_SELECT 8u
#define FW_CFG_FILE_DIR 0x19
#define FW_CFG_NAME_LENGTH 56
#define OPTIONS_NAME "opt/skip_balloon"
#define OPTIONS_LENGTH 256

uint8_t machine_stack[STACK_SIZE] __attribute__((aligned(16)));

asm(".section .boot, \"ax\"\n"
    ".code16\n"
    "boot:\n"
    "    cli\n"
    "    cld\n"
    "    lgdtl %cs:" VALUE(BOOT_OFFSET) " + segments_pointer - boot\n"
    "    mov %cr0, %eax\n"
    "    or $1, %eax\n"
    "    mov %eax, %cr0\n"
    "    ljmpl $8, $enter_guest\n"
    ".code32\n"
    "enter_guest:\n"
    "    mov $16, %eax\n"
    "    mov %eax, %ds\n"
    "    mov %eax, %es\n"
    "    mov %eax, %ss\n"
    "    mov $machine_stack + " VALUE(STACK_SIZE) ", %esp\n"
    "    call guest_main\n"
    ".balign 8\n"
    "segments:\n"
    "    .quad 0\n"
    "    .quad 0x00cf9b000000ffff\n" /* code: 4 GiB, 32 bits */
    "    .quad 0x00cf93000000ffff\n" /* data: 4 GiB, 32 bits */
    ".globl segments_pointer\n"
    "segments_pointer:\n"
    "    .word 3 * 8 - 1\n"
    "    .long segments\n"
    ".org 0xf0\n"
    ".code16\n"
    ".globl reset_vector\n"
    "reset_vector:\n"
    "    jmp boot\n"
    ".org 0x100\n"
    ".code32\n"
    ".text\n");

static uint8_t cmos_read(uint8_t index)
{
    port_write8(CMOS_INDEX, index);
    return port_read8(CMOS_DATA);
}

uint32_t machine_memory(void)
{
    uint32_t units = cmos_read(CMOS_MEMORY_LOW) |
                     cmos_read(CMOS_MEMORY_HIGH) << 8;

    return CMOS_MEMORY_START + (units << CMOS_MEMORY_SHIFT);
}

static void read_file(void *data, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++) {
        ((uint8_t *)data)[i] = port_read8(FW_CFG_DATA);
    }
}

static uint32_t read_big_endian(unsigned bytes)
{
    uint32_t value = 0;

    while (bytes--) {
        value = value << 8 | port_read8(FW_CFG_DATA);
    }
    return value;
}

static bool equal_strings(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

const char *machine_options(void)
{
    static char options[OPTIONS_LENGTH];
    uint32_t count;

    port_write16(FW_CFG_SELECTOR, FW_CFG_FILE_DIR);
    count = read_big_endian(4);
    while (count--) {
        uint32_t length = read_big_endian(4);
        uint16_t selector = read_big_endian(2);
        char name[FW_CFG_NAME_LENGTH];

        read_big_endian(2);
        read_file(name, sizeof(name));
        if (equal_strings(name, OPTIONS_NAME)) {
            port_write16(FW_CFG_SELECTOR, selector);
            read_file(options, length < OPTIONS_LENGTH ? length
                                                       : OPTIONS_LENGTH - 1);
            break;
        }
    }
    return options;
}

void machine_rest(uint32_t times)
{
    while (times--) {
        cmos_read(CMOS_MEMORY_LOW);
    }
}

const uint32_t *machine_program(void)
{
    return (const uint32_t *)PROGRAM_START;
}

static uint32_t big_endian(uint32_t value)
{
    return __builtin_bswap32(value);
}

bool machine_device_write(void *where, uint32_t length)
{
    /* The device writes to it. */
    static volatile struct {
        uint32_t control;
        uint32_t length;
        uint32_t address_high;
        uint32_t address_low;
    } access;

    access.length = big_endian(length);
    access.address_low = big_endian((uintptr_t)where);
    access.control = big_endian(FW_CFG_FILE_DIR << 16 | FW_CFG_DMA_SELECT |
                                FW_CFG_DMA_READ);
    port_write32(FW_CFG_DMA_HIGH, 0);
    port_write32(FW_CFG_DMA_LOW, big_endian((uintptr_t)&access));
    while (access.control & ~big_endian(FW_CFG_DMA_ERROR)) {
        asm volatile("pause" : : : "memory");
    }
    return !access.control;
}

void machine_halt(void)
{
    for (;;) {
        asm volatile("cli; hlt");
    }
}
