#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Runs one fuzz target: RINGVMM_FUZZ_SECONDS (3 by default). The corpus stays beside the target, so a long run goes on
# where the last one ended; a crashing input is kept there too. libFuzzer would end with 77 then, which meson takes for skipped.
set -eu
target=$1
corpus=$target.corpus
mkdir -p "$corpus"
exec "$target" -max_total_time="${RINGVMM_FUZZ_SECONDS:-3}" -timeout=10 -rss_limit_mb=2048 -error_exitcode=1 \
	-verbosity=0 -print_final_stats=1 -artifact_prefix="$target.crash-" "$corpus"
