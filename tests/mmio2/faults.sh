#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Proves the MMIO2 suite: each fault of kmod/faults, put back, makes the cases fail that the table `faults` names.
# On the good module they pass, in the same machine and after all the others.
#   faults.sh [--debug] BUILD [FAULT]...
#   --debug   the faults that only the rig's debug kernel shows, on that kernel
# Builds the modules (kmod/build.sh keeps them), and boots as seldom as it can: twice for all faults whose cases just
# fail, once for each that ends in an oops. While one machine runs, the modules of the next are built.
set -u
# shellcheck source=tests/rig/need.sh
. "$(dirname "$0")/../rig/need.sh"
here=$(cd "$(dirname "$0")" && pwd)

kernel=mmio2
if [ "${1-}" = --debug ]; then
	kernel=debug
	shift
fi
build=$(realpath "$1")
shift
chosen=" $* "
suite=$build/tests/mmio2/mmio2_suite
stage=$build/mmio2-modules # in the project's folder, so that it comes into the rig
work=$(mktemp -d)
running=''
declare -A how cases product
names=() caught=0 missed=0

# shellcheck disable=SC2317 # the trap calls it
end() {
	local rigs=
	if [ -n "$running" ]; then
		rigs=$(ps -o pid= --ppid "$running")
		# The shell first, or it would go on with the next machine.
		# shellcheck disable=SC2086
		kill "$running" $rigs 2>/dev/null
	fi
	rm -rf "$work" "$stage"
}
trap end EXIT

fail() {
	echo "FAIL: $*"
	exit 1
}

read_table() {
	local name kind list patch fault all=' '
	while read -r name kind list; do
		case $name in '' | '#'*) continue ;; esac
		all="$all${name//+/ } "
		[ "$chosen" = '  ' ] || [[ $chosen == *" $name "* ]] || continue
		names+=("$name") how[$name]=$kind cases[$name]=${list// /,}
	done <"$here/faults"
	for patch in "$project"/kmod/faults/*.patch; do
		fault=$(basename "$patch" .patch)
		[[ $all == *" $fault "* ]] || fail "kmod/faults/$fault.patch is not in tests/mmio2/faults"
	done
	for fault in $chosen; do [ -n "${how[$fault]-}" ] || fail "'$fault' is not in tests/mmio2/faults"; done
}

# with KIND - the names of the faults of that kind.
with() {
	local name
	for name in "${names[@]}"; do [ "${how[$name]}" != "$1" ] || printf '%s\n' "$name"; done
}

# make_module NAME - sets product[NAME] to a folder with its modules; `good` has no fault.
make_module() {
	local options=() fault name=$1
	[ "$name" = good ] || for fault in ${name//+/ }; do options+=(--with-fault "$fault"); done
	product[$name]=$("$project/kmod/build.sh" --rig --kernel "$release" "${options[@]}" 2>"$work/build.log" | tail -n 1)
	[ -f "${product[$name]}/kvm.ko" ] || fail "kmod/build.sh ${options[*]}: $(tail -n 3 "$work/build.log")"
}

# stage_modules NAME... - only between two runs of the rig, which copies the folder when it starts.
stage_modules() {
	local name
	rm -rf "$stage"
	for name in "$@"; do
		mkdir -p "$stage/$name"
		cp "${product[$name]}/kvm.ko" "$stage/$name/"
		# A fault is in kvm.ko alone; this saves the rig a copy of the other for each.
		[ -e "$stage/kvm-amd.ko" ] || cp "${product[$name]}/kvm-amd.ko" "$stage/"
		cmp -s "${product[$name]}/kvm-amd.ko" "$stage/kvm-amd.ko" || fail "$name: its kvm-amd.ko differs from the others'"
	done
}

in_rig() { "$rig/run" --kernel "$kernel" --cpus 2 --build "$build" "$@"; }

# union NAME... - the cases of these faults, each once, with commas between.
union() {
	local name
	for name in "$@"; do tr ',' '\n' <<<"${cases[$name]}"; done | sort -u | paste -sd,
}

# Several faults in one machine. The good module comes last: what a fault before it has done to the kernel would show.
run_batch() {
	local name out=$work/$1 arguments=() status=0
	shift
	for name in "$@"; do arguments+=("$name" "${cases[$name]}"); done
	arguments+=(good "$(union "$@")")
	in_rig --out "$out" --timeout 400 -- "$here/swap.sh" "$suite" "$stage" "${arguments[@]}" 2>"$out.err" || status=$?
	case $status in
	0 | 1) ;;
	*) printf 'MISSED  %s\n' "the rig ended with $status: $(tail -n 3 "$out.err")" ;;
	esac
}

# A fault that corrupts the kernel's memory: what counts is an oops in MMIO2's own code, or that the case fails before.
run_oops() {
	local name=$1 out=$work/$1 first
	in_rig --out "$out" --timeout 90 -- "$here/swap.sh" "$suite" "$stage" "$name" "${cases[$name]}" >"$out.txt" 2>&1
	first=$(grep -aoE '(BUG: [^#]*|Oops: .*|general protection fault.*|kernel BUG at .*|list_(add|del) corruption.*)' \
		"$out/console.log" 2>/dev/null | head -n 1 | tr -d '\r')
	if [ -n "$first" ] && grep -aqE '[ ?:]mmio2_[a-z_]+\+0x' "$out/console.log"; then
		printf 'caught  %-24s %-30s %s, in %s\n' "$name" "${cases[$name]}" "$first" \
			"$(grep -aoE 'mmio2_[a-z_]+\+0x' "$out/console.log" | head -n 1 | sed 's/+0x//')"
	elif ! grep -a '^caught' "$out.txt"; then
		printf 'MISSED  %-24s %-30s no oops; %s\n' "$name" "${cases[$name]}" "$(tail -n 1 "$out.txt")"
	fi
}

# start FUNCTION ARGUMENT... - in the background; await prints what it said, and counts.
start() {
	"$@" >"$work/said" 2>&1 &
	running=$!
}

await() {
	[ -n "$running" ] || return 0
	wait "$running"
	running=''
	cat "$work/said"
	caught=$((caught + $(grep -c '^caught' "$work/said")))
	missed=$((missed + $(grep -cE '^(MISSED|FAIL)' "$work/said")))
}

all_oopses() {
	local name
	for name in "$@"; do run_oops "$name"; done
}

main_faults() {
	local oopses fails half name
	mapfile -t oopses < <(with oops)
	mapfile -t fails < <(with fail)
	[ $((${#oopses[@]} + ${#fails[@]})) != 0 ] || fail "only the debug kernel shows ${names[*]}: faults.sh --debug"
	need_rig mmio2
	# What the rig boots.
	release=$(cat "${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ringvmm/rig/release")
	half=$(((${#fails[@]} + 1) / 2))
	if [ "${#oopses[@]}" != 0 ]; then
		for name in "${oopses[@]}"; do make_module "$name"; done
		stage_modules "${oopses[@]}"
		start all_oopses "${oopses[@]}"
	fi
	if [ "${#fails[@]}" = 0 ]; then
		await
		return
	fi
	for name in good "${fails[@]:0:half}"; do make_module "$name"; done
	await
	stage_modules good "${fails[@]:0:half}"
	start run_batch first "${fails[@]:0:half}"
	for name in "${fails[@]:half}"; do make_module "$name"; done
	await
	[ "${#fails[@]}" -gt "$half" ] || return 0
	stage_modules good "${fails[@]:half}"
	start run_batch second "${fails[@]:half}"
	await
}

# The debug kernel has modules of its own, and one boot for each fault is what it takes.
run_debug() {
	local name=$1 out=$work/$1 said line case
	shift
	said=$(in_rig "$@" --out "$out" --timeout 1200 -- "$suite" --slow 10 --only "${cases[$name]}" 2>"$out.err")
	for case in ${cases[$name]//,/ }; do
		line=$(grep -E "^(ok|FAIL|skip) +$case " <<<"$said")
		case $name:$line in
		good:ok* | *:FAIL*) printf '%s  %-24s %s\n' "$([ "$name" = good ] && echo 'good  ' || echo caught)" "$name" "$line" ;;
		*) printf 'MISSED  %-24s %s\n' "$name" "${line:-$case: no result: $(tail -n 2 "$out.err")}" ;;
		esac
	done
}

main_debug() {
	local name fault options faults
	mapfile -t faults < <(with debug)
	[ "${#faults[@]}" != 0 ] || fail "no fault of the kind debug"
	need_rig debug
	cases[good]=$(union "${faults[@]}")
	start run_debug good
	await
	for name in "${faults[@]}"; do
		options=()
		for fault in ${name//+/ }; do options+=(--with-fault "$fault"); done
		"$rig/debug-kernel.sh" "${options[@]}" --output "$work/modules" >"$work/build.log" 2>&1 ||
			fail "debug-kernel.sh ${options[*]}: $(tail -n 3 "$work/build.log")"
		start run_debug "$name" --modules "$work/modules"
		await
	done
}

read_table
[ "${#names[@]}" != 0 ] || fail "no fault"
if [ "$kernel" = debug ]; then main_debug; else main_faults; fi
printf 'MMIO2 faults: %d cases caught a fault, %d did not\n' "$caught" "$missed"
[ "$missed" = 0 ] && [ "$caught" != 0 ]
