/*
 * The entry point that libFuzzer, and the replay of a corpus, call
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef FUZZ_BALLOON_CODEC_H
#define FUZZ_BALLOON_CODEC_H

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
