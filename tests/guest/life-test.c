/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happens in the life of a real guest besides idling, and what becomes
 * of its balloon.
 */
#include "life.h"

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    life_power_add();
    life_kexec_add();
    life_oom_add();
    life_snapshot_add();
    life_swap_add();
    life_dimm_add();
    return g_test_run();
}
