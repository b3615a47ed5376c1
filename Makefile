# SPDX-License-Identifier: GPL-2.0-only
# What people type. Everything but `all` and `install` runs in the lab's machines and needs nothing on this host but Debian.
.PHONY: all install check demo bench shell driver-check driver-torture driver-bench driver-patch clean

all: build/build.ninja
	ninja -C build

build/build.ninja:
	meson setup build

install: all
	meson install -C build

check:
	tests/run

demo:
	tests/demo/run

# The daemon's figures, then the driver's. make bench K=NAME: one of the daemon's.
bench:
	tests/bench/run $(if $(K),-k "$(K)")
	$(if $(K),,tests/driver/bench)

# The kernel driver's: its part of check; ten minutes of torture on the debug kernel (SEED=N); instructions a packet; and the patch
# series.
driver-check:
	tests/run driver system-driver debug

driver-torture:
	tests/driver/torture $(if $(SEED),--seed $(SEED))

driver-bench:
	tests/driver/bench

# From GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL, which the lab's root would not see by itself.
driver-patch:
	tools/lab kernel-root --out build/driver-patch -- env $${GIT_AUTHOR_NAME:+"GIT_AUTHOR_NAME=$$GIT_AUTHOR_NAME"} \
		$${GIT_AUTHOR_EMAIL:+"GIT_AUTHOR_EMAIL=$$GIT_AUTHOR_EMAIL"} /src/driver/series /lab /lab-out

shell:
	tools/lab shell --init systemd

clean:
	rm -rf build
