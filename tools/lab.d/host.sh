# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# What the lab needs from the host: messages, the host's packages, the cache and its locks, and whether KVM works.
# Sourced by tools/lab; the other parts call it. It knows nothing of what is put into the cache.

say() { printf 'lab: %s\n' "$*" >&2; }

die() {
	printf 'lab: error: %s\n' "$*" >&2
	exit 125
}

# The tools that are looked for, and the Debian package that brings each.
host_tools=(
	mmdebstrap:mmdebstrap
	qemu-system-x86_64:qemu-system-x86
	mkfs.ext4:e2fsprogs
	git:git
	jq:jq
	xz:xz-utils
	column:bsdextrautils
)

host_packages() {
	local tool missing=()
	for tool in "${host_tools[@]}"; do
		command -v "${tool%%:*}" >/dev/null || missing+=("${tool#*:}")
	done
	[[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || missing+=(debian-archive-keyring)
	if ((EUID != 0)); then
		command -v newuidmap >/dev/null || missing+=(uidmap)
	fi
	printf '%s\n' "${missing[@]}"
}

# host_setup: installs what is missing when it may, or says how. Two runs at once install it once.
host_setup() {
	local missing fd
	PATH=$PATH:/usr/sbin:/sbin
	[[ $(uname -m) == x86_64 ]] || die "the lab's machines are x86_64, and so must the host be (this one: $(uname -m))"
	mapfile -t missing < <(host_packages)
	[[ -n ${missing[*]} ]] || return 0
	command -v apt-get >/dev/null || die "not on this host: ${missing[*]}; the lab runs on Debian 12 or 13"
	((EUID == 0)) || die "not on this host: ${missing[*]}; run once as root: apt-get install ${missing[*]}"
	lock host
	fd=$lock_fd
	mapfile -t missing < <(host_packages)
	[[ -n ${missing[*]} ]] || { exec {fd}>&-; return 0; }
	say "host: installing ${missing[*]} (about 1 min)…"
	if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } \
		>"$cache/host.log" 2>&1 </dev/null; then
		tail -n 15 "$cache/host.log" >&2
		die "apt-get could not install ${missing[*]} (above, its last words; all of them: $cache/host.log)"
	fi
	exec {fd}>&-
}

cache_setup() {
	cache=${NETKITD_LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/netkitd-lab}
	mkdir -p "$cache/locks" || die "cannot make the cache $cache; set NETKITD_LAB_CACHE to a directory on a disk with 6 GB free"
	cache=$(realpath "$cache")
	# What a run that was killed left half made; no step takes that long.
	find "$cache" -maxdepth 1 -name 'new.*' -mmin +300 -print0 | as_root xargs -0r rm -rf --one-file-system
}

# lock NAME: waits for the lock, says so when it has to, and holds it in $lock_fd until the caller closes it or exits.
lock() {
	local fd
	exec {fd}>"$cache/locks/$1"
	if ! flock -n "$fd"; then
		say "waiting for another run that works on $1…"
		flock "$fd"
	fi
	lock_fd=$fd
}

# in_use ENTRY: keeps the entry from being pruned while this process or a child of it lives.
in_use() {
	local fd
	exec {fd}>"$cache/locks/$1.use"
	flock -s "$fd"
	[[ ! -e $cache/$1 ]] || touch -c "$cache/$1"
}

# How many entries of each kind stay: for a few branches at once, and not for ever.
declare -A cache_keep=([root]=3 [boot]=8 [kernel]=6 [project]=24 [tree]=16)

# cached ENTRY BUILDER [ARG…]: when the cache has no ENTRY, calls BUILDER with the path to make and its arguments, then
# renames what it made into place. Two runs at once build it once.
cached() {
	local entry=$1 fd
	shift
	in_use "$entry"
	[[ ! -e $cache/$entry ]] || return 0
	lock "$entry"
	fd=$lock_fd
	if [[ ! -e $cache/$entry ]]; then
		scratch=$(mktemp -d "$cache/new.XXXXXX")
		chmod 755 "$scratch"
		"$1" "$scratch/entry" "${@:2}"
		mv -T "$scratch/entry" "$cache/$entry"
		rmdir "$scratch"
		scratch=
		prune "${entry%%-*}-*" "${cache_keep[${entry%%-*}]:-4}"
	fi
	exec {fd}>&-
}

# prune PATTERN KEEP: removes all entries but the KEEP used last and those that a run uses at this moment.
prune() {
	local entry fd
	while read -r entry; do
		exec {fd}>"$cache/locks/$entry.use"
		if flock -n "$fd"; then
			as_root rm -rf --one-file-system "${cache:?}/$entry"
			rm -f "$cache/locks/$entry" "$cache/locks/$entry.use"
		fi
		exec {fd}>&-
	done < <(cd "$cache" && find . -maxdepth 1 -name "$1" -printf '%T@ %f\n' | sort -rn | tail -n +$(($2 + 1)) | cut -d' ' -f2)
}

# as_root COMMAND…: COMMAND with the rights of root over the cache: root's own, or those of a user namespace.
as_root() {
	if ((EUID == 0)); then
		"$@"
	else
		unshare --map-auto --map-root-user -- "$@"
	fi
}

# kvm_works BOOT: whether a machine really starts on /dev/kvm. The device being there says little: on some hosts the guest
# never runs an instruction. So boot once, for 8 seconds at most, and remember the answer until the host restarts.
kvm_works() {
	local answer
	[[ -w /dev/kvm ]] || return 1
	answer=$cache/kvm-$(</proc/sys/kernel/random/boot_id)-$EUID
	if [[ ! -e $answer ]]; then
		rm -f "$cache"/kvm-*-"$EUID"
		say "host: trying whether KVM can start a machine (8 s at most, once)…"
		if timeout -k 1 8 qemu-system-x86_64 -accel kvm -cpu host -m 256 -nic none -display none -no-reboot \
			-monitor none -serial stdio -kernel "$1/vmlinuz" -initrd "$1/initrd" \
			-append 'console=ttyS0 panic=-1 lab.probe' </dev/null 2>&1 | grep -q lab-probe-ok; then
			echo yes >"$answer"
		else
			say "host: it cannot; machines run on software emulation (slower, and the same)"
			echo no >"$answer"
		fi
	fi
	[[ $(<"$answer") == yes ]]
}
