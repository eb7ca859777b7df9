/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Has the QEMU of `make qemu` what a host needs, and does a domain start with
 * it that virt-manager made? The command lines are those of libvirt 9.0, as
 * `virsh domxml-to-native qemu-argv` made them of the domains that virt-manager
 * proposes, with SPICE and with VNC; only paths are others, QMP is on standard
 * input and output, and no TPM is there, which takes a program of its own.
 */
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ANY_DOMAIN \
    "-name guest=debian12,debug-threads=on -S " \
    "-machine pc-q35-10.0,usb=off,dump-guest-core=off," \
    "memory-backend=pc.ram,hpet=off -accel tcg -cpu max -m 128 " \
    "-object '{\"qom-type\":\"memory-backend-ram\",\"id\":\"pc.ram\"," \
    "\"size\":134217728}' -overcommit mem-lock=off " \
    "-smp 2,sockets=2,cores=1,threads=1 " \
    "-uuid 6b1f0a5e-0000-4000-8000-000000000002 -no-user-config -nodefaults " \
    "-chardev stdio,id=charmonitor,signal=off " \
    "-mon chardev=charmonitor,id=monitor,mode=control " \
    "-rtc base=utc,driftfix=slew -global kvm-pit.lost_tick_policy=delay " \
    "-no-shutdown -global ICH9-LPC.disable_s3=1 " \
    "-global ICH9-LPC.disable_s4=1 -boot strict=on " \
    PORT("1", "16", ",\"multifunction\":true", "0x2") \
    PORT("2", "17", "", "0x2.0x1") PORT("3", "18", "", "0x2.0x2") \
    PORT("4", "19", "", "0x2.0x3") PORT("5", "20", "", "0x2.0x4") \
    PORT("6", "21", "", "0x2.0x5") \
    DEVICE("qemu-xhci", "\"p2\":15,\"p3\":15,\"id\":\"usb\"," AT("pci.1")) \
    DEVICE("virtio-serial-pci", "\"id\":\"virtio-serial0\"," AT("pci.2")) \
    "-blockdev '{\"driver\":\"file\",\"filename\":\"disk.img\"," \
    "\"aio\":\"%s\",\"node-name\":\"libvirt-2-storage\"," \
    "\"auto-read-only\":true,\"discard\":\"unmap\"}' " \
    "-blockdev '{\"node-name\":\"libvirt-2-format\",\"read-only\":false," \
    "\"driver\":\"raw\",\"file\":\"libvirt-2-storage\"}' " \
    DEVICE("virtio-blk-pci", AT("pci.3") ",\"drive\":\"libvirt-2-format\"," \
           "\"id\":\"virtio-disk0\",\"bootindex\":1") \
    DEVICE("ide-cd", "\"bus\":\"ide.0\",\"id\":\"sata0-0-0\"") \
    "-netdev '{\"type\":\"user\",\"id\":\"hostnet0\"}' " \
    DEVICE("virtio-net-pci", "\"netdev\":\"hostnet0\",\"id\":\"net0\"," \
           "\"mac\":\"52:54:00:00:00:01\"," AT("pci.6")) \
    "-chardev pty,id=charserial0 " \
    DEVICE("isa-serial", "\"chardev\":\"charserial0\",\"id\":\"serial0\"," \
           "\"index\":0") \
    "-chardev socket,id=charchannel0,path=agent.sock,server=on,wait=off " \
    DEVICE("virtserialport", "\"bus\":\"virtio-serial0.0\",\"nr\":1," \
           "\"chardev\":\"charchannel0\",\"id\":\"channel0\"," \
           "\"name\":\"org.qemu.guest_agent.0\"") \
    DEVICE("usb-tablet", "\"id\":\"input0\",\"bus\":\"usb.0\"," \
           "\"port\":\"1\"") \
    DEVICE("ich9-intel-hda", "\"id\":\"sound0\",\"bus\":\"pcie.0\"," \
           "\"addr\":\"0x1b\"") \
    DEVICE("virtio-balloon-pci", "\"id\":\"balloon0\"," AT("pci.4")) \
    "-object '{\"qom-type\":\"rng-random\",\"id\":\"objrng0\"," \
    "\"filename\":\"/dev/urandom\"}' " \
    DEVICE("virtio-rng-pci", "\"rng\":\"objrng0\",\"id\":\"rng0\"," \
           AT("pci.5")) \
    "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny," \
    "resourcecontrol=deny -msg timestamp=on "
#define DEVICE(driver, rest) \
    "-device '{\"driver\":\"" driver "\"," rest "}' "
#define AT(bus) "\"bus\":\"" bus "\",\"addr\":\"0x0\""
#define PORT(n, port, more, addr) \
    DEVICE("pcie-root-port", "\"port\":" port ",\"chassis\":" n "," \
           "\"id\":\"pci." n "\",\"bus\":\"pcie.0\"" more "," \
           "\"addr\":\"" addr "\"")
#define SOUND \
    DEVICE("hda-duplex", "\"id\":\"sound0-codec0\",\"bus\":\"sound0.0\"," \
           "\"cad\":0,\"audiodev\":\"audio1\"")

static const char spice_domain[] = ANY_DOMAIN
    "-chardev spicevmc,id=charchannel1,name=vdagent "
    DEVICE("virtserialport", "\"bus\":\"virtio-serial0.0\",\"nr\":2,"
           "\"chardev\":\"charchannel1\",\"id\":\"channel1\","
           "\"name\":\"com.redhat.spice.0\"")
    "-audiodev '{\"id\":\"audio1\",\"driver\":\"spice\"}' "
    "-spice port=0,disable-ticketing=on,image-compression=off,"
    "seamless-migration=on "
    DEVICE("qxl-vga", "\"id\":\"video0\",\"max_outputs\":1,"
           "\"ram_size\":67108864,\"vram_size\":67108864,"
           "\"vram64_size_mb\":0,\"vgamem_mb\":16,\"bus\":\"pcie.0\","
           "\"addr\":\"0x1\"")
    SOUND
    "-chardev spicevmc,id=charredir0,name=usbredir "
    DEVICE("usb-redir", "\"chardev\":\"charredir0\",\"id\":\"redir0\","
           "\"bus\":\"usb.0\",\"port\":\"2\"");

static const char vnc_domain[] = ANY_DOMAIN
    "-audiodev '{\"id\":\"audio1\",\"driver\":\"none\"}' "
    "-vnc unix:vnc.sock,audiodev=audio1 "
    DEVICE("virtio-vga", "\"id\":\"video0\",\"max_outputs\":1,"
           "\"bus\":\"pcie.0\",\"addr\":\"0x1\"")
    SOUND;

static const char *qemu_binary(void)
{
    const char *named = g_getenv("QEMU_BINARY");

    return named && named[0] ? named : BUILD_DIR "/bin/qemu-system-x86_64";
}

/* What QEMU prints if it is asked for nothing else */
static char *ask(const char *option, const char *argument)
{
    g_autoptr(GSubprocess) qemu = g_subprocess_new(
        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE, NULL,
        qemu_binary(), option, argument, NULL);
    char *text = NULL;

    g_assert_nonnull(qemu);
    g_assert_true(g_subprocess_communicate_utf8(qemu, NULL, NULL, &text, NULL,
                                                NULL));
    g_assert_true(g_subprocess_get_if_exited(qemu));
    return text;
}

static void assert_names(const char *option, const char *argument,
                         const char *const *names)
{
    g_autofree char *text = ask(option, argument);

    for (; *names; names++) {
        g_autofree char *pattern = g_strdup_printf("(^|[\\s\"])%s($|[\\s\",:])",
                                                   *names);

        if (!g_regex_match_simple(pattern, text, G_REGEX_MULTILINE, 0)) {
            g_test_fail_printf("%s %s knows no %s", option, argument, *names);
        }
    }
}

static void test_devices(void)
{
    static const char *const names[] = {
        "vhost-user-fs-pci", "vhost-user-blk-pci", "vhost-vsock-pci",
        "vhost-scsi-pci", "vfio-pci", "virtio-9p-pci", "virtio-gpu-pci",
        "qxl", "usb-host", "usb-redir", "tpm-crb", "tpm-tis", "hv-balloon",
        "virtio-mem-pci", "nvdimm", "intel-iommu", NULL
    };

    assert_names("-device", "help", names);
}

static void test_back_ends(void)
{
    static const char *const net[] = {
        "user", "tap", "bridge", "vhost-user", "vhost-vdpa", "l2tpv3", "socket",
        NULL
    };
    static const char *const tpm[] = { "emulator", "passthrough", NULL };
    static const char *const chardev[] = {
        "spicevmc", "spiceport", "socket", "pty", NULL
    };
    static const char *const audio[] = { "spice", "none", NULL };
    static const char *const drive[] = {
        "qcow2", "raw", "luks", "vmdk", "vdi", "vpc", "vhdx", "nbd", NULL
    };

    assert_names("-netdev", "help", net);
    assert_names("-tpmdev", "help", tpm);
    assert_names("-chardev", "help", chardev);
    assert_names("-audiodev", "help", audio);
    assert_names("-drive", "format=help", drive);
}

/* ---- Domains ---- */

/* May io_uring be used at all? In containers it often may not. */
static const char *best_aio(void)
{
    char parameters[120] = { 0 };
    long fd = syscall(SYS_io_uring_setup, 1, parameters);

    if (fd < 0) {
        return "threads";
    }
    close(fd);
    return "io_uring";
}

static void make_disk(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "disk.img", NULL);
    FILE *file = g_fopen(path, "w");

    g_assert_nonnull(file);
    g_assert_cmpint(ftruncate(fileno(file), 1 << 20), ==, 0);
    g_assert_cmpint(fclose(file), ==, 0);
}

static GSubprocess *start(const char *dir, char **arguments)
{
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
        G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE |
        G_SUBPROCESS_FLAGS_STDERR_PIPE);
    g_autoptr(GError) error = NULL;
    GSubprocess *qemu;

    g_subprocess_launcher_set_cwd(launcher, dir);
    qemu = g_subprocess_launcher_spawnv(launcher,
                                        (const char *const *)arguments,
                                        &error);
    g_assert_no_error(error);
    return qemu;
}

/* It comes up, waits to be told to go on, and ends when it is told to. */
static void test_domain(gconstpointer domain)
{
    static const char commands[] =
        "{\"execute\": \"qmp_capabilities\"}\n{\"execute\": \"query-status\"}\n"
        "{\"execute\": \"query-block\"}\n{\"execute\": \"quit\"}\n";
    g_autofree char *dir = g_dir_make_tmp("domain-XXXXXX", NULL);
    g_autofree char *rest = NULL;
    g_autofree char *line = NULL;
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    g_auto(GStrv) arguments = NULL;
    g_autoptr(GSubprocess) qemu = NULL;

    make_disk(dir);
    /* It is one of the two above, and each has one conversion. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    rest = g_strdup_printf(domain, best_aio());
#pragma GCC diagnostic pop
    line = g_strdup_printf("'%s' %s", qemu_binary(), rest);
    g_assert_true(g_shell_parse_argv(line, NULL, &arguments, NULL));
    qemu = start(dir, arguments);
    g_assert_true(g_subprocess_communicate_utf8(qemu, commands, NULL, &out,
                                                &err, NULL));
    g_test_message("status %d, stderr: %s", g_subprocess_get_status(qemu), err);
    g_assert_true(g_subprocess_get_successful(qemu));
    g_assert_nonnull(strstr(out, "\"status\": \"prelaunch\""));
    g_assert_nonnull(strstr(out, "/machine/peripheral/virtio-disk0"));
    g_assert_null(strstr(out, "\"error\""));

    /* Whatever sockets it left behind */
    for (const char *const *name = (const char *const []) {
             "disk.img", "agent.sock", "vnc.sock", NULL }; *name; name++) {
        g_autofree char *path = g_build_filename(dir, *name, NULL);

        g_unlink(path);
    }
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

/* Whose QEMU it is, and which: of results that were measured with it, too */
static void test_version(void)
{
    g_autofree char *text = ask("--version", NULL);

    g_test_message("%s", text);
    g_assert_nonnull(strstr(text, "(skip-balloon " SKIP_BALLOON_VERSION ")"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_set_nonfatal_assertions();
    if (access(qemu_binary(), X_OK)) {
        g_printerr("there is no %s\n", qemu_binary());
        return 1;
    }
    g_test_add_func("/features/version", test_version);
    g_test_add_func("/features/devices", test_devices);
    g_test_add_func("/features/back-ends", test_back_ends);
    g_test_add_data_func("/features/domain/spice", spice_domain, test_domain);
    g_test_add_data_func("/features/domain/vnc", vnc_domain, test_domain);
    return g_test_run();
}
