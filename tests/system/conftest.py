# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the system tests: the running service, a connection to a daemon that holds nothing, network namespaces."""
import json
import os
import re

import pytest
from tools import run, wait_for_daemon

SETTINGS = "/etc/netkitd/netkitd.json"
DROP_IN = "/run/systemd/system/netkitd.service.d/test.conf"

# What the kernel can't make isn't tried there; test_device.py sees it refused.
collect_ignore = []
if not re.search(r"^found +netkit\.single ", run("netkitd", "--check", check=False), re.MULTILINE):
    collect_ignore.append("test_single.py")
# Nor is what needs a means that the kernel lacks: a request that is held in its middle.
if not os.path.exists("/proc/sys/vm/unprivileged_userfaultfd"):
    collect_ignore.append("test_owner_wait.py")


@pytest.fixture(scope="session", autouse=True)
def service():
    run("systemctl", "start", "netkitd")
    yield
    assert run("systemctl", "is-active", "netkitd").strip() == "active"


def connection():
    """To a daemon that runs, whatever the test before did to it; mostly it does, and systemctl would take a fifth of a second."""
    try:
        return wait_for_daemon(patience=0)
    except (OSError, AssertionError):
        run("systemctl", "start", "netkitd")
        return wait_for_daemon()


@pytest.fixture
def rpc(service):
    """A connection to a daemon that holds nothing."""
    c = connection()
    c.converge(mode="replace")
    yield c
    c.close()
    c = connection()
    c.apply(mode="replace")
    c.close()


@pytest.fixture
def reconfigured(rpc):
    """Run the daemon with settings of the test's own, and with lines in its unit's [Service]; the connection to it."""

    def change_unit(lines):
        if lines:
            os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
            with open(DROP_IN, "w") as f:
                f.write("\n".join(["[Service]", *lines, ""]))
        elif os.path.exists(DROP_IN):
            os.unlink(DROP_IN)
        else:
            return
        run("systemctl", "daemon-reload")

    def restart(settings=None, unit=()):
        change_unit(unit)
        with open(SETTINGS, "w") as f:
            json.dump(settings or {}, f)
        run("systemctl", "restart", "netkitd")
        return wait_for_daemon()

    yield restart
    if os.path.exists(SETTINGS):
        os.unlink(SETTINGS)
    change_unit(())
    run("systemctl", "restart", "netkitd")


def processes_in(path):
    """Those in a network namespace, with their numbers: a process less for each test than to ask `ip netns pids`."""
    wanted = os.stat(path).st_ino
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}/ns/net").st_ino == wanted:
                yield int(pid)
        except OSError:
            pass  # it has ended


@pytest.fixture
def netns():
    """Make network namespaces: netns("a") returns the name. All go at the end, and what runs in them."""
    made = []

    def make(name):
        run("ip", "netns", "add", name)
        made.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        return name

    yield make
    for name in made:
        if os.path.exists(f"/run/netns/{name}"):
            for pid in processes_in(f"/run/netns/{name}"):
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    pass
            run("ip", "netns", "del", name)


# In this order: a socket that is not to stop as well starts the service anew, which cancels that one's stop.
UDEV = ["systemd-udevd-kernel.socket", "systemd-udevd-control.socket", "systemd-udevd.service"]


@pytest.fixture
def no_udev():
    """Hundreds of devices make thousands of events, with which udev would be busy for minutes, and all tests after it slow. Name it
    before rpc, so that the devices go before udev comes back."""
    run("systemctl", "stop", *UDEV)
    yield
    run("systemctl", "start", *UDEV)


@pytest.fixture(scope="module", autouse=True)
def udev_where_it_matters(request):
    """udev and systemd's units of devices take a fifth of the machine's time. They run in the files whose tests are about what they may
    do to a device, which say `with_udev = True`."""
    if getattr(request.module, "with_udev", False):
        yield
        return
    run("systemctl", "stop", *UDEV)
    yield
    run("systemctl", "start", *UDEV)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure comes with what the daemon said lately."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        report.sections.append(("journal", run("journalctl", "-u", "netkitd", "-u", "netkitd.socket", "--no-pager", "-n", "25", "-o", "short-monotonic", check=False)))
