# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The lab's root: a Debian 13 tree with what builds and tests the project, the disk image made of it, and what boots it.
# Sourced by tools/lab. Nothing here depends on the checkout but the recipe
# itself, which names the cache entry: the package list, debian_build and root-finish.

suite=trixie
apt=/etc/apt

# The host's own Debian mirror, from apt's sources, deb822 and one-line. Lines: "main URI" and "security URI".
apt_uris() {
	local file
	shopt -s nullglob
	for file in "$apt"/sources.list.d/*.sources; do
		awk -v RS= -F'\n' '{
			delete field
			for (i = 1; i <= NF; i++) {
				if ($i ~ /^#/) continue
				if (match($i, /^[A-Za-z-]+:/)) {
					key = tolower(substr($i, 1, RLENGTH - 1))
					field[key] = substr($i, RLENGTH + 1)
				} else
					field[key] = field[key] " " $i
			}
			if (tolower(field["enabled"]) ~ /no/) next
			split(field["types"], types, " "); split(field["uris"], uris, " "); split(field["suites"], suites, " ")
			for (t in types) if (types[t] == "deb")
				for (s in suites) print uris[1], suites[s], field["components"]
		}' "$file"
	done
	for file in "$apt/sources.list" "$apt"/sources.list.d/*.list; do
		[[ -e $file ]] || continue
		sed -nE 's/^[[:space:]]*deb[[:space:]]+(\[[^]]*\][[:space:]]*)?([^#]*).*/\2/p' "$file"
	done
	shopt -u nullglob
}

# mirror main|security: the URI, or nothing. A source is Debian's when it has a suite that only Debian has, with `main`.
mirror() {
	local kind=$1 uri name components
	while read -r uri name components; do
		[[ " $components " == *" main "* ]] || continue
		case $kind:$name in
		main:bookworm | main:trixie | main:forky | main:sid | main:stable | main:oldstable | main:testing | main:unstable) ;;
		security:bookworm-security | security:trixie-security | security:stable-security | security:oldstable-security) ;;
		*) continue ;;
		esac
		[[ $uri == cdrom:* ]] || { echo "$uri"; return; }
	done < <(apt_uris)
}

sources_list() {
	local main security from="deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
	main=${NETKITD_LAB_MIRROR:-$(mirror main)}
	[[ -n $main ]] || die "apt's sources on this host name no Debian mirror; set NETKITD_LAB_MIRROR to the URI of one"
	security=$(mirror security)
	echo "$from $main $suite main"
	[[ -z $security || -n ${NETKITD_LAB_MIRROR:-} ]] || echo "$from $security $suite-security main"
}

packages() { sed -E '/^(#|$)/d' "$lab/$1"; }

# debian_build DIR LIST: DIR/tree, a Debian with the packages that the file LIST names.
debian_build() {
	local out=$1 list=$2 log=$cache/debian.log status=0
	mkdir -p "$out/tree"
	say "root: Debian 13 with $(packages "$list" | wc -l) packages and what they need (about 2 min)…"
	sources_list >"$out/sources.list"
	# The host's proxies and the like are the host's way to the mirror, so they are ours too, but don't stay in the root.
	apt-config dump --format '%F "%v";%n' Acquire | grep -E '^Acquire::(http|https|ftp|Retries|ForceIPv)' >"$out/apt.conf" || true
	INITRD=No mmdebstrap --mode="$( ((EUID == 0)) && echo root || echo unshare)" --variant=minbase --format=tar \
		--include="$(packages "$list" | paste -sd,)" --aptopt="$out/apt.conf" --aptopt='Apt::Install-Recommends "false"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/man/*' --customize-hook="$lab/root-finish" \
		"$suite" - - <"$out/sources.list" 2> >(root_progress "$log") |
		as_root tar -C "$out/tree" -xp --exclude="./dev/*" || status=$?
	if ((status)); then
		grep -E '^(E:|W:|Err|dpkg: error)' "$log" | tail -n 10 >&2
		die "the root could not be made (all of the log: $log)"
	fi
	rm "$out/sources.list" "$out/apt.conf"
}

debian_key() { { declare -f debian_build; cat "$lab/root-finish"; packages "$1" | sort; } | sha256sum | cut -c1-16; }

# root_build DIR: DIR/tree is the root, DIR/disk.img the image, DIR/vmlinuz Debian's kernel.
root_build() {
	local out=$1
	debian_build "$out" packages
	cp "$out"/tree/boot/vmlinuz-* "$out/vmlinuz"
	say "root: packing the disk image (about 10 s)…"
	as_root mkfs.ext4 -q -F -O ^has_journal -E lazy_itable_init=0 -m 0 -L lab -d "$out/tree" "$out/disk.img" 4G >/dev/null
}

# root_ready: sets $root to the root's directory in the cache.
root_ready() {
	root=root-$({ debian_key packages; declare -f root_build; } | sha256sum | cut -c1-16)
	cached "$root" root_build
	root=$cache/$root
}

# root_progress LOG: keeps mmdebstrap's messages in LOG and tells the stages.
root_progress() {
	local line
	while IFS= read -r line; do
		printf '%s\n' "$line"
		case $line in
		"I: downloading "* | "I: extracting "* | "I: installing "*) say "root: ${line#I: }" ;;
		esac
	done >"$1"
}

# in_root [DIR:MOUNT[:ro]]… -- COMMAND…: COMMAND inside the root, with DIR at MOUNT. The root itself stays as it is: it is read-only there,
# /tmp and /run are empty and go away, and there is no network. Everything COMMAND started ends with it.
in_root() {
	local binds=() user=()
	while [[ $1 != -- ]]; do
		binds+=("$1")
		shift
	done
	shift
	((EUID == 0)) || user=(--map-auto --map-root-user)
	unshare "${user[@]}" --mount --pid --net --ipc --uts --fork --kill-child -- bash -c '
		set -e
		root=$1 count=$2
		shift 2
		mount --bind "$root" "$root"
		mount --rbind /dev "$root/dev"
		mount -t proc proc "$root/proc"
		for dir in tmp run var/tmp; do
			mount -t tmpfs -o mode=1777 tmpfs "$root/$dir"
		done
		for ((; count; count--)); do
			IFS=: read -r dir at mode <<<"$1"
			mount --bind "$dir" "$root$at"
			[[ $mode != ro ]] || mount -o remount,bind,ro "$root$at"
			shift
		done
		mount -o remount,bind,ro "$root"
		# Not in place of this shell: a make that is process 1 cannot end itself when it is told to.
		status=0
		chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" "$@" || status=$?
		exit "$status"
	' in_root "$root/tree" "${#binds[@]}" "${binds[@]}" "$@"
}

# The modules that Debian's kernel needs before it sees its disk.
stock_modules=(virtio_blk ext4)

# boot_stock_build DIR: DIR/vmlinuz is Debian's kernel; DIR/initrd holds busybox, the modules, and guest/initrd as /init.
boot_stock_build() {
	local out=$1
	mkdir -p "$out/stage"
	cp "$root/vmlinuz" "$out/vmlinuz"
	cp "$lab/guest/initrd" "$out/stage/init"
	in_root "$out/stage:/build" -- bash -euo pipefail -c '
		cd /build
		mkdir bin dev proc sys root modules
		cp /usr/bin/busybox bin/
		chmod 755 init
		for module; do
			modprobe -S "$(ls /lib/modules)" --show-depends "$module"
		done | while read -r how file rest; do
			[[ $how == insmod ]] || continue
			name=${file##*/} name=${name%.xz}
			busybox xzcat "$file" >"modules/$name"
			strip --strip-debug "modules/$name"
			grep -qsx "$name" modules/order || echo "$name" >>modules/order
		done
		find . | cpio --quiet -o -H newc
	' initrd "${stock_modules[@]}" >"$out/initrd"
	rm -rf "$out/stage"
}

# boot_ready KERNEL: sets $boot to a directory with the vmlinuz and the initrd to boot KERNEL with. Each kernel is one case
# here; all of them boot the same disk image.
boot_ready() {
	case $1 in
	stock)
		boot=boot-stock-$({ basename "$root"; cat "$lab/guest/initrd"; declare -f boot_stock_build; echo "${stock_modules[@]}"; } |
			sha256sum | cut -c1-16)
		cached "$boot" boot_stock_build
		;;
	driver | upstream | debug) kernel_ready "$1" ;;
	*) die "kernel '$1': there are stock, driver, upstream and debug; see tools/lab --help" ;;
	esac
	boot=$cache/$boot
}
