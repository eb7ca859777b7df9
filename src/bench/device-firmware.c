/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "bench/device-firmware.h"

#include <stdint.h>
#include <string.h>

#define IMAGE_SIZE 65536
#define RESET_VECTOR (IMAGE_SIZE - 16)

/*
 * start:  movw $0x700, %ax ; movw %ax, %ds
 * again:  incl 0
 *         jmp again
 */
static const uint8_t count[] = {
    0xb8, 0x00, 0x07, 0x8e, 0xd8, 0x66, 0xff, 0x06, 0x00, 0x00, 0xeb, 0xf9,
};

/* Where the processor begins: jmp start */
static const uint8_t reset[] = { 0xe9, 0x0d, 0x00 };

char *device_firmware_write(Session *session, GError **error)
{
    g_autofree char *path = session_path(session, "firmware");
    g_autofree char *image = g_malloc0(IMAGE_SIZE);

    memcpy(image, count, sizeof(count));
    memcpy(image + RESET_VECTOR, reset, sizeof(reset));
    return g_file_set_contents(path, image, IMAGE_SIZE, error) ?
           g_steal_pointer(&path) : NULL;
}
