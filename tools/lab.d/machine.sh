# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# One run of a machine: makes the job it gets, starts QEMU, passes the output on as it comes, and says how it ended.
# Sourced by tools/lab, which has set the options (kernel, cpus, mem, icount, init, copy, out, timeout) and made $root and $boot ready.
# The machine never changes the image; what it leaves behind is in /lab-out, brought back with --out.

# job_build DIR COMMAND…: DIR/job.tar, what the machine reads first, and DIR/copy.tar.
job_build() {
	local dir=$1 lines=24 columns=${COLUMNS:-80}
	shift
	mkdir "$dir/job"
	cp -r "$lab/guest" "$dir/job/"
	printf '%s\0' "$@" >"$dir/job/command"
	[[ ! -t 2 ]] || read -r lines columns < <(stty size <&2)
	{
		printf '%s=%q\n' init "$init" interactive "$interactive" term "${TERM:-dumb}" lines "$lines" columns "$columns"
		# Both streams to one place: through one port, so that their order stays.
		[[ /dev/stdout -ef /dev/stderr ]] && echo merge=yes || echo merge=
	} >"$dir/job/settings"
	tar -c --owner=0 --group=0 -C "$dir/job" -f "$dir/job.tar" .
	[[ -z $copy ]] || tar -c --owner=0 --group=0 -C "$copy" -f "$dir/copy.tar" .
}

disk() { printf '%s\0' -drive "file=$2,if=none,id=$1,format=raw,$3" -device "virtio-blk-pci,drive=$1,serial=$1"; }

# A port of the machine, and the file or pipe on this side.
port() { printf '%s\0' -chardev "file,id=$1,path=$2" -device "virtserialport,chardev=$1,name=$1"; }

machine_arguments() {
	# A busy host delays the emulated timer, which the kernel would take for a broken one: no_timer_check.
	local dir=$1 thread=single append="quiet loglevel=4 panic=-1 mitigations=off nokaslr no_timer_check audit=0 console=ttyS0"
	if [[ $icount ]]; then
		set -- -accel tcg,thread=single -icount shift=0,sleep=off -cpu max -seed 1 -rtc base=2026-01-01,clock=vm
	elif kvm_works "$boot"; then
		set -- -accel kvm -cpu host
	else
		# A plain processor: what newer ones have costs an emulator a sixth of its time (longer page tables, copying by the byte, wide
		# registers). But it has random numbers, so that the kernel needn't wait for some, and rewrite itself when it has them, in the
		# midst of all (guest/run).
		# One thread for all processors takes a sixth less than one for each. And where the kernel rewrites its own code (the first ping,
		# which wants time stamps, is enough) none of them runs on in what was there before, which ends in a panic ("Oops: int3").
		# Races show only where the processors are really two: with the kernel that looks for them.
		[[ $kernel != debug ]] || thread=multi
		# What the emulator (QEMU 7.2) does wrong in any case: after a 'test' or the like, a 'setg', 'setl' or their kin that
		# writes to a page which has yet to be made or copied finds other flags when it is run again, and so does what comes after it. Seen
		# right after a fork: a result above zero was taken for one below.
		set -- -accel "tcg,thread=$thread" -cpu Nehalem,+rdrand
	fi
	printf '%s\0' "$@" -machine q35 -smp "$cpus" -m "$mem" -nic none -display none -no-reboot -monitor none -nodefaults \
		-kernel "$boot/vmlinuz" -initrd "$boot/initrd" -append "$append" \
		-chardev "file,id=console,path=$dir/console" -serial chardev:console -device virtio-serial-pci
	disk image "$root/disk.img" snapshot=on
	disk job "$dir/job.tar" readonly=on
	[[ -z $project ]] || disk project "$project" readonly=on
	[[ -z $copy ]] || disk copy "$dir/copy.tar" readonly=on
	if [[ $interactive ]]; then
		printf '%s\0' -chardev stdio,id=terminal,signal=off -device virtconsole,chardev=terminal
	else
		port stdout "$dir/stdout"
		port stderr "$dir/stderr"
	fi
	port out "$dir/out.tar"
	port status "$dir/status"
}

# machine_run COMMAND…: sets $status to the command's exit status; 124 when it took too long, 125 when the machine failed.
machine_run() {
	local dir arguments ended=0 began=$SECONDS
	dir=$(mktemp -d "${TMPDIR:-/tmp}/netkitd-lab.XXXXXX")
	scratch_run=$dir
	job_build "$dir" "$@"
	mkfifo "$dir/stdout" "$dir/stderr"
	mapfile -d '' -t arguments < <(machine_arguments "$dir")
	if [[ $interactive ]]; then
		qemu-system-x86_64 "${arguments[@]}" || ended=$?
	else
		cat "$dir/stdout" &
		cat "$dir/stderr" >&2 &
		timeout -k 5 "$timeout" qemu-system-x86_64 "${arguments[@]}" </dev/null >"$dir/qemu" 2>&1 &
		machine=$!
		wait "$machine" || ended=$?
		machine=
		wait
	fi
	if ((ended && SECONDS - began >= timeout)) && [[ ! $interactive ]]; then
		say "the command was not done after $timeout s (--timeout), and the machine was stopped"
		status=124
	elif [[ -s $dir/status ]]; then
		status=$(<"$dir/status")
	else
		[[ ! -s $dir/qemu ]] || cat "$dir/qemu" >&2
		say "the machine ended before the command did; the last it said on its console:"
		tail -n 80 "$dir/console" >&2
		status=125
	fi
	if [[ $out && -s $dir/out.tar ]]; then
		mkdir -p "$out"
		tar -x --no-same-owner -C "$out" -f "$dir/out.tar"
	fi
}
