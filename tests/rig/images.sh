# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What the rig boots from: the base image (user space, cached), the project's image and the initramfs (made for each run).
# Read in by `run`, which sets $cache, $work, $project and the functions say and fail; packages.sh sets $kernel and $busybox.

# User space is copied from the machine that runs the rig, by package, with the libraries that the copied programs name. It
# is Debian as well, so this is what `apt-get download` would bring, without the download; and the project's programs meet
# the libraries that they were linked with. Packages that are not installed are left out.
base_packages="base-files debianutils ncurses-base kmod libc-bin dash bash coreutils grep sed findutils mawk gawk diffutils tar gzip procps util-linux
	util-linux-extra psmisc iproute2 strace linux-perf python3-minimal python3.11-minimal libpython3.11-minimal libpython3.11-stdlib
	libpython3-stdlib python3.13-minimal libpython3.13-minimal libpython3.13-stdlib meson ninja-build qemu-system-x86
	qemu-system-common qemu-system-data seabios ovmf libcmocka0 libev4 libev4t64 libjansson4 libasan8 libubsan1 libtsan2
	libstdc++6 libgcc-s1 libatomic1"

# Left out: what no test reads, and is large.
base_without='^/(usr/share/(doc|man|info|locale|icons|applications|lintian|bash-completion|metainfo)|usr/share/qemu/(keymaps|skiboot|slof|u-boot|s390|edk2|hppa|opensbi)|boot|var)(/|$|[^/]*$)'

# shellcheck disable=SC2086
package_versions() { dpkg-query -W -f='${db:Status-Abbrev} ${Package} ${Version}\n' $base_packages 2>/dev/null | sed -n 's/^ii *//p'; }

# The files of the installed packages of the list.
package_files() {
	package_versions | cut -d' ' -f1 | xargs dpkg -L | grep '^/.' | grep -vE "$base_without" | sort -u | while IFS= read -r file; do
		[ -d "$file" ] && [ ! -L "$file" ] || printf '%s\n' "$file"
	done
}

# The libraries (and the loader) that the programs and libraries among the files on stdin ask for.
library_closure() {
	grep -E '/s?bin/|\.so(\.|$)|/qemu/|/libexec/' | xargs -d '\n' ldd 2>/dev/null |
		sed -n -e 's/.*=> \(\/[^ ]*\) (.*/\1/p' -e 's/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | sort -u
}

# What links name is needed as well as the links: alternatives, and the versions behind a library's name.
with_link_targets() {
	while IFS= read -r file; do
		printf '%s\n' "$file"
		[ ! -L "$file" ] || readlink -f "$file"
	done | sort -u
}

fill_base() {
	local tree=$1 folder
	package_files >"$work/files"
	library_closure <"$work/files" >"$work/libraries"
	for folder in bin sbin lib lib64; do
		mkdir -p "$tree/usr/$folder"
		ln -s "usr/$folder" "$tree/$folder"
	done
	# Debian's /lib is a link to /usr/lib, whichever of the two a package's list says.
	{ cat "$work/files" "$work/libraries" && alternative_links; } | with_link_targets | sed -E 's,^/(bin|sbin|lib|lib64)/,/usr/\1/,' | sort -u |
		tar -C / -cf - --no-recursion --ignore-failed-read -T - 2>/dev/null | tar -C "$tree" -xf -
	# Which of several programs is behind a name is a matter of /etc/alternatives.
	mkdir -p "$tree"/{dev,proc,sys,run,tmp,root,mnt,var/tmp,etc/alternatives}
	cp -a /etc/alternatives/. "$tree/etc/alternatives/" 2>/dev/null || true
	cp "$busybox" "$tree/usr/bin/busybox"
	# What no package of the list brings (which, lsmod, vi) may still be one of busybox's names; session puts them last.
	mkdir -p "$tree/opt/busybox"
	"$busybox" --list | while IFS= read -r name; do ln -s /usr/bin/busybox "$tree/opt/busybox/$name"; done
	printf 'root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n' >"$tree/etc/passwd"
	printf 'root:x:0:\nkvm:x:106:\nnogroup:x:65534:\n' >"$tree/etc/group"
	printf '127.0.0.1 localhost rig\n' >"$tree/etc/hosts"
	printf 'rig\n' >"$tree/etc/hostname"
}

# make_ext4 FOLDER IMAGE SPARE_MIB - no journal and no checksums: the image lives for one run. The constant UUID and hash
# seed make equal trees equal images.
make_ext4() {
	local used files id=52494e47-564d-4d00-8000-000000000001
	used=$(du -sm --apparent-size "$1" | cut -f1)
	files=$(find "$1" | wc -l)
	truncate -s "$((used + used / 4 + $3))M" "$2"
	mke2fs -q -F -t ext4 -O ^has_journal,^metadata_csum,^resize_inode -m 0 -N "$((files + 8192))" -U "$id" \
		-E "hash_seed=$id,lazy_itable_init=0,root_owner=0:0,nodiscard" -d "$1" "$2" >"$work/mke2fs.log" 2>&1 ||
		fail "mke2fs: $(tail -n 1 "$work/mke2fs.log")"
}

# The links to /etc/alternatives (awk, which) belong to no package.
alternative_links() {
	find /usr/bin /usr/sbin -type l -lname '/etc/alternatives/*' | while IFS= read -r link; do
		if grep -qxF -e "$(readlink -f "$link")" "$work/files"; then printf '%s\n' "$link"; fi
	done
}

# Sets $base. The key holds all that goes in: the packages' versions and this file.
need_base() {
	local key tree=$work/base
	key=$({ package_versions; cat "$rig/images.sh"; } | sha256sum | cut -c1-16)
	base=$cache/base-$key.ext4
	[ ! -f "$base" ] || return 0
	say "making the base image (once for these package versions)"
	mkdir -p "$tree"
	fill_base "$tree"
	make_ext4 "$tree" "$base.new.$$" 512
	mv "$base.new.$$" "$base"
	rm -rf "$tree"
	# A run that has an older one open keeps it: the file's name goes, not the file.
	find "$cache" -maxdepth 1 -name 'base-*.ext4' ! -samefile "$base" -mtime +7 -delete
}

# The project's folder, without what no command in the rig reads: logs, object files, corpora, the history, what came back from
# other runs. Files that change meanwhile (tar's status 1) are those of others.
copy_project() {
	local tree=$1 status=0
	mkdir -p "$tree"
	tar -C "$project" -cf - --exclude=./.git --exclude=meson-logs \
		--exclude='*.p' --exclude='*.corpus' --exclude='rig-out*' --exclude='*.profraw' --exclude='*.o' \
		--exclude=__pycache__ . 2>"$work/tar.log" | tar -C "$tree" -xf - || status=$?
	[ "$status" -le 1 ] || fail "the project's folder could not be copied: $(tail -n 1 "$work/tar.log")"
}

# Sets $disk.
make_project_image() {
	disk=$work/project.ext4
	copy_project "$work/project"
	make_ext4 "$work/project" "$disk" 64
	rm -rf "$work/project"
}

# Sets $initramfs: busybox, the modules, and what this run is to do (guest/init, guest/session, the command, the settings).
make_initramfs() {
	local tree=$work/initramfs
	initramfs=$work/initramfs.cpio
	mkdir -p "$tree"/{bin,dev,proc,sys,root,rig,modules}
	cp "$busybox" "$tree/bin/busybox"
	cp "$kernel"/modules/*.ko "$tree/modules"
	[ -z "$modules" ] || cp "$modules"/kvm.ko "$modules"/kvm-amd.ko "$tree/modules"
	cp "$rig/guest/init" "$tree/init"
	cp "$rig/guest/session" "$tree/rig/session"
	write_settings >"$tree/rig/settings"
	write_command "$@" >"$tree/rig/command"
	chmod 755 "$tree/init" "$tree/rig/session" "$tree/rig/command"
	(cd "$tree" && find . | sort | "$busybox" cpio -o -H newc) >"$initramfs" 2>"$work/cpio.log" ||
		fail "cpio: $(tail -n 1 "$work/cpio.log")"
	rm -rf "$tree"
}

write_settings() {
	printf 'project=%q\n' "$project"
	printf 'build=%q\n' "$build"
	printf 'mode=%s\n' "$mode"
	printf 'merged=%s\n' "$merged"
	printf 'icount=%s\n' "$icount"
	[ "$mode" != shell ] || printf 'size=%q\nterm=%q\n' "$(stty size)" "${TERM:-linux}"
}

# The command as a bash script. RINGVMM_* of the caller's environment goes along: it picks back ends and times of tests.
write_command() {
	local name
	printf '#!/bin/bash\n'
	for name in "${!RINGVMM_@}"; do
		printf 'export %s=%q\n' "$name" "${!name}"
	done
	printf 'cd %q || exit 125\n' "$project"
	if [ "$mode" = shell ]; then
		printf 'exec bash -i\n'
	else
		printf 'exec --'
		printf ' %q' "$@"
		printf '\n'
	fi
}
