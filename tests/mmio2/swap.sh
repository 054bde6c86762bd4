#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs in the rig, for faults.sh: loads one kvm.ko after another and says which cases of the suite fail on it.
#   swap.sh SUITE FOLDER [NAME CASES]...
# FOLDER/NAME/kvm.ko is loaded, and FOLDER/kvm-amd.ko, which is the same for all. CASES have commas between. On the
# module called `good` each has to pass, on each other one to fail. The exit status says whether it was so.
set -u
suite=$1 folder=$2 status=0
shift 2

load() {
	rmmod kvm_amd kvm && insmod "$folder/$1/kvm.ko" && insmod "$folder/kvm-amd.ko" && return
	echo "FAIL    $1: its modules do not load"
	return 1
}

# judge NAME CASE LINE - LINE is what the suite said of the case, if anything.
judge() {
	local name=$1 case=$2 word=${3%% *} reason
	reason=$(sed -E 's/^.* checks +[0-9.]+ s *//' <<<"$3")
	case $name:$word in
	good:ok) return ;;
	good:*) echo "FAIL    good module, $case: ${3:-no result}" ;;
	*:FAIL)
		printf 'caught  %-24s %-30s %s\n' "$name" "$case" "$reason"
		return
		;;
	*) printf 'MISSED  %-24s %-30s %s\n' "$name" "$case" "${3:-no result}" ;;
	esac
	status=1
}

while [ $# -ge 2 ]; do
	name=$1 cases=$2
	shift 2
	load "$name" || {
		status=1
		continue
	}
	said=$(timeout 120 "$suite" --only "$cases")
	for case in ${cases//,/ }; do
		judge "$name" "$case" "$(grep -E "^(ok|FAIL|skip) +$case " <<<"$said")"
	done
	[ "$name" != good ] || echo "good    ${said##*$'\n'}"
done
exit "$status"
