/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SKIP_BALLOON_COMMANDS_COMMAND_H
#define SKIP_BALLOON_COMMANDS_COMMAND_H

/* What the program returns. */
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_SIGNAL = 128,          /* plus the number of the signal */
};

/* A subcommand. */
typedef struct Command {
    const char *name;
    const char *summary;        /* a line for --help */
    /* argv[0] is the program and the command; returns an exit status. */
    int (*run)(int argc, char **argv);
} Command;

extern const Command bench_command;
extern const Command demo_command;
extern const Command map_command;
extern const Command report_command;

#endif /* SKIP_BALLOON_COMMANDS_COMMAND_H */
