// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The maps of a run, without a program: they are there before the programs, which two processes load at the
 * same time.
 */
#include "group.h"
#include "maps.h"
#include "times.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
