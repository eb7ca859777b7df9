/*
 * A guest's driver of virtio-mem, of few registers
 *
 * Its one queue is in low memory, which nobody else uses.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_mem.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "virtio-mem-guest.h"

/* Where the registers are put; BAR 4 has them all */
#define BAR4_REG 0x20
#define BAR4 UINT64_C(0xf0000000)
#define COMMON(field) (BAR4 + VIRTIO_PCI_COMMON_##field)
#define CONFIG(field) (BAR4 + 0x2000 + \
                       offsetof(struct virtio_mem_config, field))
#define NOTIFY (BAR4 + 0x3000)

#define QUEUE_SIZE 8
#define DESC UINT64_C(0x80000)
#define AVAIL UINT64_C(0x81000)
#define USED UINT64_C(0x82000)
#define REQUEST UINT64_C(0x83000)
#define RESPONSE UINT64_C(0x84000)

static void pci_write(QTestState *qts, unsigned int reg, uint32_t value)
{
    qtest_outl(qts, 0xcf8, 1U << 31 | VM_SLOT << 11 | reg);
    qtest_outl(qts, 0xcfc, value);
}

static void accept_all_features(QTestState *qts)
{
    int i;

    for (i = 0; i < 2; i++) {
        qtest_writel(qts, COMMON(DFSELECT), i);
        qtest_writel(qts, COMMON(GFSELECT), i);
        /* Of the others, those that are about rings would bind us. */
        qtest_writel(qts, COMMON(GF), i == 0
                     ? qtest_readl(qts, COMMON(DF)) & 0xffffff
                     : 1 << (VIRTIO_F_VERSION_1 - 32));
    }
}

void vm_driver_start(QTestState *qts)
{
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

    pci_write(qts, BAR4_REG, BAR4);
    pci_write(qts, BAR4_REG + 4, 0);
    pci_write(qts, 4, 6);
    qtest_writeb(qts, COMMON(STATUS), 0);
    qtest_writeb(qts, COMMON(STATUS), status);
    accept_all_features(qts);
    status |= VIRTIO_CONFIG_S_FEATURES_OK;
    qtest_writeb(qts, COMMON(STATUS), status);
    g_assert_cmphex(qtest_readb(qts, COMMON(STATUS)), ==, status);

    qtest_memset(qts, DESC, 0, RESPONSE - DESC);
    qtest_writew(qts, COMMON(Q_SELECT), 0);
    qtest_writew(qts, COMMON(Q_SIZE), QUEUE_SIZE);
    qtest_writel(qts, COMMON(Q_DESCLO), DESC);
    qtest_writel(qts, COMMON(Q_DESCHI), 0);
    qtest_writel(qts, COMMON(Q_AVAILLO), AVAIL);
    qtest_writel(qts, COMMON(Q_AVAILHI), 0);
    qtest_writel(qts, COMMON(Q_USEDLO), USED);
    qtest_writel(qts, COMMON(Q_USEDHI), 0);
    qtest_writew(qts, COMMON(Q_ENABLE), 1);
    qtest_writeb(qts, COMMON(STATUS), status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void write_desc(QTestState *qts, int i, uint64_t addr, uint32_t length,
                       uint16_t flags)
{
    qtest_writeq(qts, DESC + i * 16, addr);
    qtest_writel(qts, DESC + i * 16 + 8, length);
    qtest_writew(qts, DESC + i * 16 + 12, flags);
    qtest_writew(qts, DESC + i * 16 + 14, i + 1);
}

bool vm_plug(QTestState *qts, uint64_t addr, uint16_t blocks, bool plug)
{
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    uint16_t added = qtest_readw(qts, AVAIL + 2);

    qtest_memset(qts, REQUEST, 0, sizeof(struct virtio_mem_req));
    qtest_writew(qts, REQUEST, plug ? VIRTIO_MEM_REQ_PLUG
                                    : VIRTIO_MEM_REQ_UNPLUG);
    qtest_writeq(qts, REQUEST + offsetof(struct virtio_mem_req, u.plug.addr),
                 addr);
    qtest_writew(qts, REQUEST + offsetof(struct virtio_mem_req,
                                         u.plug.nb_blocks), blocks);
    write_desc(qts, 0, REQUEST, sizeof(struct virtio_mem_req),
               VRING_DESC_F_NEXT);
    write_desc(qts, 1, RESPONSE, sizeof(struct virtio_mem_resp),
               VRING_DESC_F_WRITE);
    qtest_writew(qts, AVAIL + 4 + added % QUEUE_SIZE * 2, 0);
    qtest_writew(qts, AVAIL + 2, ++added);
    qtest_writew(qts, NOTIFY, 0);
    while (qtest_readw(qts, USED + 2) != added) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    return qtest_readw(qts, RESPONSE) == VIRTIO_MEM_RESP_ACK;
}

uint64_t vm_plugged_size(QTestState *qts)
{
    return qtest_readq(qts, CONFIG(plugged_size));
}
