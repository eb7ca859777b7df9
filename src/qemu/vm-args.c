/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qemu/vm.h"

#include <string.h>

/* Served as soon as it is notified, by the thread that does that */
#define VM_DRIVEN_DEVICE ",ioeventfd=off,addr=" G_STRINGIFY(VM_BALLOON_SLOT)

/* The host's processor, but for what a nested one may have and not let go of */
#define KVM_CPU "host,arch-capabilities=off"

static char *log_file(const Session *session, const VmConfig *config,
                      const char *suffix)
{
    g_autofree char *name = g_strconcat(config->name, suffix, NULL);

    return session_log_path(session, name);
}

char *vm_log_path(const Session *session, const VmConfig *config)
{
    return log_file(session, config, ".qemu.log");
}

char *vm_console_path(const Session *session, const VmConfig *config)
{
    return log_file(session, config, ".console.log");
}

char *vm_trace_path(const Session *session, const VmConfig *config)
{
    return log_file(session, config, ".trace.log");
}

static void __attribute__((format(printf, 3, 4)))
add(GPtrArray *args, const char *option, const char *format, ...)
{
    va_list values;

    g_ptr_array_add(args, g_strdup(option));
    va_start(values, format);
    g_ptr_array_add(args, g_strdup_vprintf(format, values));
    va_end(values);
}

/* In QEMU's options a comma within a value is written twice. */
static char *quote_commas(const char *value)
{
    g_auto(GStrv) parts = g_strsplit(value, ",", -1);

    return g_strjoinv(",,", parts);
}

static void add_machine(GPtrArray *args, const VmConfig *config)
{
    add(args, "-machine", "pc,memory-backend=ram0,usb=off");
    if (config->kvm) {
        add(args, "-accel", "kvm");
    }
    if (!config->bare) {
        add(args, "-accel", config->device_level ? "qtest" : "tcg");
    }
    add(args, "-smp", "%u", MAX(config->smp, 1));
    /* Nothing that the guest does not need: each device is more to migrate. */
    g_ptr_array_add(args, g_strdup("-nodefaults"));
    g_ptr_array_add(args, g_strdup("-no-user-config"));
    if (!config->reboots) {
        g_ptr_array_add(args, g_strdup("-no-reboot"));
    }
    add(args, "-display", "none");
    add(args, "-vga", "none");
    for (const char *const *dir = config->firmware; dir && *dir; dir++) {
        add(args, "-L", "%s", *dir);
    }
}

static void add_memory(GPtrArray *args, const VmConfig *config)
{
    static const char *const objects[] = {
        [BACKEND_ANON] = "memory-backend-ram",
        [BACKEND_MEMFD] = "memory-backend-memfd,share=on",
        [BACKEND_HUGETLB] =
            "memory-backend-memfd,share=on,hugetlb=on,hugetlbsize=2M",
    };

    add(args, "-m", "%" G_GUINT64_FORMAT "B", config->memory);
    /* Far more than the host could back, should it ever be written to */
    add(args, "-object", "%s,id=ram0,size=%" G_GUINT64_FORMAT "B%s",
        objects[config->backend], config->memory,
        config->device_level && config->backend == BACKEND_ANON ?
        ",reserve=off" : "");
}

static void add_qmp(GPtrArray *args)
{
    add(args, "-chardev", "socket,id=qmp,fd=%d", VM_QMP_FD);
    add(args, "-mon", "chardev=qmp,mode=control");
}

static void add_serial_ports(GPtrArray *args, const Session *session,
                         const VmConfig *config)
{
    g_autofree char *console_path = vm_console_path(session, config);
    g_autofree char *console = quote_commas(console_path);
    g_autofree char *serial_path = log_file(session, config, ".serial.log");
    g_autofree char *serial = quote_commas(serial_path);

    add(args, "-chardev", "socket,id=serial,fd=%d,logfile=%s", VM_SERIAL_FD,
        serial);
    add(args, "-serial", "chardev:serial");
    add(args, "-chardev", "file,id=console,path=%s", console);
    add(args, "-serial", "chardev:console");
}

/*
 * A processor that can address 16 TiB; with KVM the host's. Were it AMD's, QEMU
 * would leave a hole below 1 TiB, and memory would not be where device-guest.c
 * takes it to be.
 */
static void add_device_level(GPtrArray *args, const VmConfig *config)
{
    add(args, "-cpu", "%s,vendor=GenuineIntel",
        config->kvm ? KVM_CPU : "max,phys-bits=46");
    if (config->bios) {
        add(args, "-bios", "%s", config->bios);
    }
    add(args, "-chardev", "socket,id=qtest,fd=%d", VM_QTEST_FD);
    add(args, "-qtest", "chardev:qtest");
    add(args, "-qtest-log", "none");
}

static void add_trace(GPtrArray *args, const Session *session,
                      const VmConfig *config)
{
    if (config->trace_holds) {
        add(args, "-trace", "skip_bql_end");
        add(args, "-trace", "skip_pass_end");
    }
    if (config->trace_clears) {
        add(args, "-trace", "migration_bitmap_clear_dirty");
    }
    g_ptr_array_add(args, g_strdup("-D"));
    g_ptr_array_add(args, vm_trace_path(session, config));
}

/* On a busy host Linux might find the timer broken. */
static void add_guest(GPtrArray *args, const VmConfig *config)
{
    add(args, "-kernel", "%s", config->kernel);
    add(args, "-initrd", "%s", config->initrd);
    add(args, "-append", "console=ttyS1 loglevel=4 panic=-1 no_timer_check"
        " skip_balloon.workset=%" G_GUINT64_FORMAT "K skip_balloon.seed=%u"
        " skip_balloon.touch=%s%s%s", config->workset >> 10, config->seed,
        config->untouched ? "off" : "on", config->append ? " " : "",
        config->append ? config->append : "");
}

static void add_bare_guest(GPtrArray *args, const BareGuest *bare)
{
    add(args, "-accel", "%s", bare->accel);
    if (g_str_has_prefix(bare->accel, "kvm")) {
        add(args, "-cpu", KVM_CPU);
    }
    add(args, "-bios", "%s", bare->image);
    add(args, "-fw_cfg", "name=opt/skip_balloon,string=%s", bare->options);
}

static void add_balloon(GPtrArray *args, const VmConfig *config)
{
    if (config->free_page_hint) {
        add(args, "-object", "iothread,id=hints");
    }
    add(args, "-device", "virtio-balloon-pci,id=balloon0%s%s%s%s",
        config->must_tell_host ? ",must-tell-host=on" : "",
        config->free_page_reporting ? ",free-page-reporting=on" : "",
        config->free_page_hint ? ",free-page-hint=on,iothread=hints" : "",
        config->device_level ? VM_DRIVEN_DEVICE : "");
}

char **vm_args(const Session *session, const VmConfig *config)
{
    GPtrArray *args = g_ptr_array_new();

    g_ptr_array_add(args, g_strdup(config->qemu));
    add_machine(args, config);
    add_memory(args, config);
    add_qmp(args);
    if (config->device_level) {
        add_device_level(args, config);
    } else {
        add_serial_ports(args, session, config);
    }
    if (config->trace_holds || config->trace_clears) {
        add_trace(args, session, config);
    }
    if (config->kernel) {
        add_guest(args, config);
    }
    if (config->bare) {
        add_bare_guest(args, config->bare);
    }
    if (!config->no_balloon) {
        add_balloon(args, config);
    }
    if (config->clear_bitmap_shift) {
        add(args, "-global", "migration.x-clear-bitmap-shift=%u",
            config->clear_bitmap_shift);
    }
    if (config->incoming) {
        add(args, "-incoming", "defer");
    }
    for (const char *const *o = config->options; o && *o; o++) {
        g_ptr_array_add(args, g_strdup(*o));
    }
    g_ptr_array_add(args, NULL);
    return (char **)g_ptr_array_free(args, FALSE);
}
