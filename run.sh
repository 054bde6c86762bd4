#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs what is missing, builds, and then
#   ./run.sh             boots SeaBIOS, and shows what posted writes save on this very host
#   ./run.sh ARGUMENTS   is `ringvmm run ARGUMENTS`
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/scripts/setup.sh"

# Paths in the arguments are the caller's: nothing below changes the working folder.
if [ $# -gt 0 ]; then
	# shellcheck disable=SC2086
	need $RUN_PACKAGES
	(cd "$here" && build_in build)
	exec "$here/build/ringvmm" run "$@"
fi

# shellcheck disable=SC2086
need $RUN_PACKAGES $BENCH_PACKAGES
cd "$here"
build_in build

if [ ! -r /dev/kvm ] || [ ! -w /dev/kvm ]; then
	build/ringvmm doctor || true
	die "no usable /dev/kvm here: the line above says what to do"
fi

scratch=$(mktemp -d)
ringvmm=
end() {
	[ -z "$ringvmm" ] || kill "$ringvmm" 2>/dev/null || true
	rm -rf "$scratch"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "booting SeaBIOS ($(build/ringvmm --version))"
build/ringvmm run --firmware seabios --serial null --debugcon "file:$scratch/log" --stats "table:$scratch/stats" &
ringvmm=$!
waited=0
until grep -q 'No bootable device' "$scratch/log" 2>/dev/null; do
	kill -0 "$ringvmm" 2>/dev/null || die "ringvmm ended before the firmware did"
	[ "$waited" -lt 600 ] || die "the firmware did not reach its last line within 60 s; so far: $(tail -n 3 "$scratch/log")"
	sleep 0.1
	waited=$((waited + 1))
done
kill -TERM "$ringvmm"
wait "$ringvmm" || true
ringvmm=
cat "$scratch/log"
printf '\nWhat left the guest on the way, and what did not\n'
cat "$scratch/stats"
printf '\n'
say "measuring RTC ticks, side by side with QEMU (half a minute)"
build/bench/rtc_tick --rounds 5
