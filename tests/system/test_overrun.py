# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's events come faster than they can be read: nothing is lost but the events."""
import os
import signal

from tools import addresses, chain, journal, journal_now, link, main_pid, pair, ping, program, run, until


def test_forced_enobufs(reconfigured, netns, tmp_path):
    rpc = reconfigured({"event_buffer": 32768})
    netns("web-1")
    netns("web-2")
    rpc.converge([pair("web-1", "web-1", "10.0.0.1", "10.0.0.2", attachments=[{"name": "a", "hook": "netkit/peer", "program": "next1"}]),
                  pair("web-2", "web-2", "10.0.1.1", "10.0.1.2")], [program("next1")])
    before, began = rpc.call("daemon.status")["counts"]["resyncs"], journal_now()
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
        until(lambda: rpc.call("daemon.status")["counts"]["resyncs"] > before, "a resync")
        until(lambda: addresses("web-1") == {"10.0.0.1/32"}, "web-1's address")
        until(lambda: link("web-2") and ping("10.0.1.2"), "web-2")
        assert len(chain("web-1", "netkit/peer")) == 1
        until(lambda: [e for e in journal(after=began) if e.get("NETKITD_EVENT") == "resync"], "the journal to tell of it")
    finally:
        run("ip", "link", "del", "noise")
