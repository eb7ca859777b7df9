/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The second processor: it is started as the Intel SDM, volume 3, section 9.4,
 * has it, by its local APIC, in real mode on a page below 1 MiB, in our ROM.
 */
#include "second.h"

#include <stddef.h>

#include "port.h"

#define STRING(x) #x
#define VALUE(x) STRING(x)

/* Where bare.ld puts the section .second; the segments are those of .boot. */
#define SECOND_PAGE 0xff

#define STACK_SIZE 4096

#define APIC 0xfee00000u
#define APIC_SPURIOUS 0xf0
#define APIC_SPURIOUS_ENABLE 0x1ff
#define APIC_COMMAND 0x300
#define APIC_INIT_OTHERS 0xc4500
#define APIC_START_OTHERS 0xc4600

/* A port that nothing is at; to write to it takes a microsecond at least */
#define NO_PORT 0x80
#define INIT_WAIT 1000
#define START_WAIT 100000

uint8_t second_stack[STACK_SIZE] __attribute__((aligned(16)));

static bool runs;
static SecondFunc *job;

asm(".section .second, \"ax\"\n"
    ".code16\n"
    "second:\n"
    "    cli\n"
    "    cld\n"
    "    lgdtl %cs:second_segments\n"
    "    mov %cr0, %eax\n"
    "    or $1, %eax\n"
    "    mov %eax, %cr0\n"
    "    ljmpl $8, $enter_second\n"
    ".code32\n"
    "enter_second:\n"
    "    mov $16, %eax\n"
    "    mov %eax, %ds\n"
    "    mov %eax, %es\n"
    "    mov %eax, %ss\n"
    "    mov $second_stack + " VALUE(STACK_SIZE) ", %esp\n"
    "    call second_main\n"
    ".text\n");

static void apic_write(unsigned reg, uint32_t value)
{
    /* A register: each write counts. */
    *(volatile uint32_t *)(APIC + reg) = value;
}

static bool wait_for_it(unsigned times)
{
    while (times-- && !__atomic_load_n(&runs, __ATOMIC_ACQUIRE)) {
        port_write8(NO_PORT, 0);
    }
    return runs;
}

/* What it does once it is in protected mode */
void __attribute__((noreturn)) second_main(void)
{
    __atomic_store_n(&runs, true, __ATOMIC_RELEASE);
    for (;;) {
        SecondFunc *func = __atomic_load_n(&job, __ATOMIC_ACQUIRE);

        if (func) {
            func();
            __atomic_store_n(&job, NULL, __ATOMIC_RELEASE);
        }
        asm volatile("pause" : : : "memory");
    }
}

bool second_begin(SecondFunc *func)
{
    if (!runs) {
        apic_write(APIC_SPURIOUS, APIC_SPURIOUS_ENABLE);
        apic_write(APIC_COMMAND, APIC_INIT_OTHERS);
        wait_for_it(INIT_WAIT);
        apic_write(APIC_COMMAND, APIC_START_OTHERS | SECOND_PAGE);
        if (!wait_for_it(START_WAIT)) {
            return false;
        }
    }
    __atomic_store_n(&job, func, __ATOMIC_RELEASE);
    return true;
}

void second_end(void)
{
    while (__atomic_load_n(&job, __ATOMIC_ACQUIRE)) {
        asm volatile("pause" : : : "memory");
    }
}
