# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The kernels that the lab builds: one minimal configuration with our netkit driver (driver), with the tree's own (upstream),
# and with our driver and every debugging aid (debug). Sourced by tools/lab; boot_ready calls kernel_ready.
# Each step is a cache entry: a root with the compilers and the source, everything compiled but not linked (shared by driver
# and upstream), and the linked kernel. A change to the driver compiles the driver and links again, in a minute.

# kernel_root_build DIR: DIR/tree is a Debian with the compilers, DIR/source the kernel's source.
kernel_root_build() {
	local out=$1
	debian_build "$out" kernel-packages
	# Other processors, and the drivers that are most of the source, are left out: no kernel here has them.
	say "kernel: unpacking the source…"
	mkdir "$out/source"
	as_root tar -xJf "$out"/tree/usr/src/linux-source-6.12.tar.xz -C "$out/source" --strip-components=1 --exclude='*.dts*' \
		--exclude='linux-source-6.12/arch/[a-tv-wyz]*.[chS]' --exclude='*/sound/*.[ch]' --exclude='*/drivers/media/*.[ch]' \
		--exclude='*/drivers/gpu/drm/*.[ch]' --exclude='*/drivers/staging/*.[ch]' --exclude='*/drivers/net/ethernet/*.[ch]' \
		--exclude='*/drivers/net/wireless/*.[ch]'
	as_root rm "$out"/tree/usr/src/linux-source-6.12.tar.xz
}

# kernel_root_ready: sets $kernel_root to the root that compiles kernels.
kernel_root_ready() {
	kernel_root=kernel-root-$({ debian_key kernel-packages; declare -f kernel_root_build; } | sha256sum | cut -c1-16)
	cached "$kernel_root" kernel_root_build
	kernel_root=$cache/$kernel_root
}

# kernel_make LINUX BUILD COMMAND…: COMMAND in the kernel's root, with the source LINUX at /src/linux and BUILD at /build.
kernel_make() {
	local linux=$1 build=$2
	shift 2
	root=$kernel_root in_root "$linux:/src" "$build:/build" "$checkout/driver:/lab:ro" -- \
		env KBUILD_BUILD_TIMESTAMP=2026-01-01 KBUILD_BUILD_USER=netkitd KBUILD_BUILD_HOST=lab "$@"
}

# Where the debug kernel has KASAN's checks: where packets and programs are. Elsewhere they would take most of its compilation and of an
# emulator's time. (kbuild asks it of each directory, $(obj): scripts/Makefile.lib.)
kasan='KASAN_SANITIZE=$(if $(filter net/% drivers/net/% kernel/bpf/%,$(obj)/),y,n)'

# kernel_objects_build DIR FRAGMENT…: DIR/linux is the source with the headers as our driver wants them, DIR/build everything
# compiled from it with the FRAGMENTs and nothing that they don't ask for, and the tree's own driver.
kernel_objects_build() {
	local out=$1
	shift
	mkdir -p "$out/build"
	as_root cp -al "$kernel_root/source" "$out/linux"
	kernel_make "$out/linux" "$out/build" /lab/overlay --headers /src
	kernel_make "$out/linux" "$out/build" /lab/configure /src /build "${@/#//lab/}" >&2 || die "no kernel configuration"
	say "kernel: compiling with ${*} (about 8 min on two processors)…"
	kernel_compile "$out" vmlinux_o "${*: -1}"
}

# kernel_compile DIR TARGET NAME: makes TARGET in DIR/build from DIR/linux. Two kernels may be compiled at once, so that each NAME has its log.
kernel_compile() {
	local log=$cache/compile-$3.log variables=()
	[[ $3 != debug* ]] || variables+=("$kasan")
	kernel_make "$1/linux" "$1/build" make -s -C /build "-j$(nproc)" "${variables[@]}" "$2" >"$log" 2>&1 || {
		tail -n 30 "$log" >&2
		die "the kernel does not compile (all of the log: $log)"
	}
}

# kernel_tree DIR OBJECTS OVERLAY: DIR/linux and DIR/build are a copy of OBJECTS, with our driver in its place when OVERLAY is yes.
kernel_tree() {
	local out=$1 objects=$2 overlay=$3
	as_root cp -al "$objects/linux" "$out/linux"
	as_root cp -a --reflink=auto "$objects/build" "$out/build"
	[[ $overlay != yes ]] || kernel_make "$out/linux" "$out/build" sh -euc '
		/lab/overlay /src
		# The kernel with KUnit has our tests, which the tree whose objects it shares knew nothing of.
		! grep -qx CONFIG_KUNIT=y /build/.config || echo CONFIG_NETKIT_KUNIT_TEST=y >>/build/.config
		make -s -C /build olddefconfig
	'
}

# kernel_link_build DIR OBJECTS OVERLAY NAME: DIR/vmlinuz and DIR/initrd of the kernel NAME, linked from OBJECTS, with our driver when
# OVERLAY is yes.
kernel_link_build() {
	local out=$1 objects=$2 overlay=$3
	mkdir -p "$out/stage"
	kernel_tree "$out" "$objects" "$overlay"
	say "kernel: linking (about 1 min)…"
	kernel_compile "$out" bzImage "$4"
	cp "$out/build/arch/x86/boot/bzImage" "$out/vmlinuz"
	cp "$out/build/.config" "$out/config"
	boot_initrd "$out"
	as_root rm -rf "$out/linux" "$out/build"
}

# boot_initrd DIR: DIR/initrd for a kernel that needs no modules, from DIR/stage.
boot_initrd() {
	local out=$1
	cp "$lab/guest/initrd" "$out/stage/init"
	in_root "$out/stage:/build" -- sh -euc '
		cd /build
		mkdir bin dev proc sys root
		cp /usr/bin/busybox bin/
		chmod 755 init
		find . | cpio --quiet -o -H newc
	' >"$out/initrd"
	as_root rm -rf "$out/stage"
}

# key FILE…: what names an entry that is made from these files of driver/, after what comes on standard input.
kernel_key() {
	{ cat; (cd "$checkout/driver" && find "$@" -type f -print0 | sort -z | xargs -0 sha256sum); } | sha256sum | cut -c1-16
}

# kernel_plan NAME: sets $objects to the name of the entry with what that kernel is linked from, $fragments to what that is configured
# with, and $overlay to whether our driver goes over it.
kernel_plan() {
	fragments=(kernel.config) overlay=yes
	case $1 in
	driver) ;;
	upstream) overlay=no ;;
	debug) fragments+=(debug.config) ;;
	*) die "kernel '$1' is not one that the lab compiles: those are driver, upstream and debug" ;;
	esac

	kernel_root_ready
	objects=kernel-objects-$({
		basename "$kernel_root"
		declare -f kernel_objects_build kernel_make
		[[ $1 != debug ]] || echo "$kasan"
	} | kernel_key configure overlay patches/0001-uapi.patch patches/0002-drop-reasons.patch "${fragments[@]}")
}

# kernel_ready NAME: sets $boot to the name of the entry with that kernel.
kernel_ready() {
	kernel_plan "$1"
	boot=boot-$1-$({
		echo "$objects"
		basename "$root"
		declare -f kernel_tree kernel_link_build boot_initrd
		cat "$lab/guest/initrd"
	} | if [[ $overlay == yes ]]; then kernel_key netkit patches; else cat | sha256sum | cut -c1-16; fi)
	[[ -e $cache/$boot ]] || cached "$objects" kernel_objects_build "${fragments[@]}"
	cached "$boot" kernel_link_build "$cache/$objects" "$overlay" "$1"
}

# kernel_tree_run NAME COMMAND…: COMMAND in the kernel's root, with a copy of what that kernel is linked from.
kernel_tree_run() {
	local status=0
	kernel_plan "$1"
	cached "$objects" kernel_objects_build "${fragments[@]}"
	scratch=$(mktemp -d "$cache/new.XXXXXX")
	kernel_tree "$scratch" "$cache/$objects" "$overlay"
	kernel_make "$scratch/linux" "$scratch/build" "${@:2}" || status=$?
	as_root rm -rf --one-file-system "$scratch"
	scratch=
	return "$status"
}
