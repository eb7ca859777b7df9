/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serial.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "port.h"

#define COM1 0x3f8
#define LINE_STATUS (COM1 + 5)
#define LINE_STATUS_RECEIVED 1
#define LINE_STATUS_CAN_SEND 0x20
#define LINE_LENGTH 80

static void send(char c)
{
    while (!(port_read8(LINE_STATUS) & LINE_STATUS_CAN_SEND)) {
        asm volatile("pause");
    }
    port_write8(COM1, c);
}

static void send_string(const char *s)
{
    while (*s) {
        send(*s++);
    }
}

static void send_decimal(uint32_t value)
{
    char digits[11];
    char *s = digits + sizeof(digits) - 1;

    *s = '\0';
    do {
        *--s = '0' + value % 10;
        value /= 10;
    } while (value);
    send_string(s);
}

static void send_hexadecimal(uint32_t value)
{
    for (int shift = 28; shift >= 0; shift -= 4) {
        send("0123456789abcdef"[value >> shift & 15]);
    }
}

void serial_print(const char *format, ...)
{
    va_list values;

    va_start(values, format);
    for (const char *s = format; *s; s++) {
        if (*s != '%') {
            send(*s);
            continue;
        }
        s++;
        if (*s == 's') {
            send_string(va_arg(values, const char *));
        } else if (*s == 'u') {
            send_decimal(va_arg(values, uint32_t));
        } else {
            send_hexadecimal(va_arg(values, uint32_t));
        }
    }
    va_end(values);
    send('\n');
}

const char *serial_poll_line(void)
{
    static char line[LINE_LENGTH];
    static size_t length;

    while (port_read8(LINE_STATUS) & LINE_STATUS_RECEIVED) {
        char c = port_read8(COM1);

        if (c == '\n') {
            line[length] = '\0';
            length = 0;
            return line;
        }
        if (length < LINE_LENGTH - 1) {
            line[length++] = c;
        }
    }
    return NULL;
}
