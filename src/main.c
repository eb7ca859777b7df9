/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include <glib.h>

#include "commands/command.h"
#include "qemu/libvirt.h"

static const Command *const commands[] = {
    &demo_command,
    &bench_command,
    &map_command,
    &migrate_command,
    &report_command,
    &status_command,
};

static void print_help(void)
{
    printf("Usage: skip-balloon COMMAND [OPTION...]\n"
           "\n"
           "Migrates QEMU guests without what their balloons took away.\n"
           "\n"
           "Commands:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    }
    printf("\n"
           "'skip-balloon help COMMAND' tells more of a command.\n"
           "\n"
           "Exit status: 0 if all went well, 1 if not, 2 for a wrong command\n"
           "line, 3 if 'status' finds that nothing would be skipped, 128 plus the\n"
           "number of the signal that ended it.\n");
}

static void print_version(void)
{
    g_autofree char *libvirt = libvirt_version();

    printf("skip-balloon %s (with%s libvirt%s%s)\n", SKIP_BALLOON_VERSION,
           libvirt ? "" : "out", libvirt ? " " : "", libvirt ? libvirt : "");
}

static const Command *find_command(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (!strcmp(name, commands[i]->name)) {
            return commands[i];
        }
    }
    return NULL;
}

static int run_command(const Command *command, int argc, char **argv)
{
    g_autofree char *name = g_strdup_printf("skip-balloon %s", command->name);
    g_autoptr(GError) error = NULL;
    int status;

    argv[0] = name;
    g_set_prgname(name);
    status = command->run(argc, argv, &error);
    return command_report_error(name, error, status);
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    const Command *command;
    char help[] = "--help";

    setlocale(LC_CTYPE, "");
    if (!word) {
        print_help();
        return EXIT_USAGE;
    }
    if (!strcmp(word, "--help") || !strcmp(word, "-h") ||
        (!strcmp(word, "help") && argc == 2)) {
        print_help();
        return EXIT_OK;
    }
    if (!strcmp(word, "help")) {
        word = argv[1] = argv[2];
        argv[2] = help;
    }
    if (!strcmp(word, "--version")) {
        print_version();
        return EXIT_OK;
    }
    command = find_command(word);
    if (!command) {
        fprintf(stderr, "skip-balloon: there is no %s '%s'\n"
                "Try 'skip-balloon --help'.\n",
                word[0] == '-' ? "option" : "command", word);
        return EXIT_USAGE;
    }
    return run_command(command, argc - 1, argv + 1);
}
