# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's events come faster than they can be read: nothing is lost but the events."""
import json
import os
import signal

import pytest
from tools import addresses, chain, journal, link, main_pid, pair, ping, program, run, until, wait_for_daemon

SETTINGS = "/etc/netkitd/netkitd.json"


@pytest.fixture
def small_buffer(service):
    """A daemon whose event socket holds next to nothing."""
    with open(SETTINGS, "w") as f:
        json.dump({"event_buffer": 32768}, f)
    run("systemctl", "restart", "netkitd")
    c = wait_for_daemon()
    c.converge(mode="replace")
    yield c
    c.converge(mode="replace")
    os.unlink(SETTINGS)
    run("systemctl", "restart", "netkitd")


def test_forced_enobufs(small_buffer, netns, tmp_path):
    rpc = small_buffer
    netns("web-1")
    netns("web-2")
    rpc.converge([pair("web-1", "web-1", "10.0.0.1", "10.0.0.2", attachments=[{"name": "a", "hook": "netkit/peer", "program": "next1"}]),
                  pair("web-2", "web-2", "10.0.1.1", "10.0.1.2")], [program("next1")])
    before = rpc.call("daemon.status")["counts"]["resyncs"]
    run("ip", "link", "add", "noise", "type", "dummy")
    burst = tmp_path / "burst"
    burst.write_text("link set noise mtu 1400\nlink set noise mtu 1500\n" * 500)
    pid = main_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        run("ip", "-batch", burst)
        # What happens while nobody listens is what a lost event would hide.
        run("ip", "addr", "flush", "dev", "web-1")
        run("ip", "-n", "web-2", "link", "set", "eth0", "down")
        run("ip", "link", "del", "web-2")
    finally:
        os.kill(pid, signal.SIGCONT)
    try:
        until(lambda: rpc.call("daemon.status")["counts"]["resyncs"] > before, "a resync", 60)
        until(lambda: addresses("web-1") == {"10.0.0.1/32"}, "web-1's address", 60)
        until(lambda: link("web-2") and ping("10.0.1.2"), "web-2", 60)
        assert len(chain("web-1", "netkit/peer")) == 1
        assert [e for e in journal() if e.get("NETKITD_EVENT") == "resync"]
    finally:
        run("ip", "link", "del", "noise")
