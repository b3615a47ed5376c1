// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Where in a file a JSON pointer points: the daemon names places by pointer, people look for lines. Used for error messages
 * only, on text that a JSON parser has already accepted.
 */
#include <stddef.h>

/*
 * The line, from 1, on which the value of the pointer begins. Where the pointer names a member that isn't there, the line of
 * the object that lacks it. 0 if the text isn't JSON.
 */
size_t cli_locate(const char *text, size_t len, const char *pointer);
