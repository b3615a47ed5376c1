# SPDX-License-Identifier: GPL-2.0-only
"""What netkitd knows of the kernel isn't whole: its events come faster than they can be read, reading it anew fails, or what was read
is old by now."""
import os
import signal
import subprocess

import pytest
from tools import (PATIENCE, addresses, chain, journal, journal_now, link, main_pid, pair, ping, program, run, stopped, traced, until,
                   wait_for_netns)

FW = [{"name": "fw", "hook": "netkit/peer", "program": "next1"}]


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
    with stopped(main_pid()):
        run("ip", "-batch", burst)
        # What happens while nobody listens is what a lost event would hide.
        run("ip", "addr", "flush", "dev", "web-1")
        run("ip", "-n", "web-2", "link", "set", "eth0", "down")
        run("ip", "link", "del", "web-2")
    try:
        until(lambda: rpc.call("daemon.status")["counts"]["resyncs"] > before, "a resync")
        until(lambda: addresses("web-1") == {"10.0.0.1/32"}, "web-1's address")
        until(lambda: link("web-2") and ping("10.0.1.2"), "web-2")
        assert len(chain("web-1", "netkit/peer")) == 1
        until(lambda: [e for e in journal(after=began) if e.get("NETKITD_EVENT") == "resync"], "the journal to tell of it")
    finally:
        run("ip", "link", "del", "noise")


def test_owners_that_go_unheard_are_no_drift(reconfigured, netns, tmp_path):
    rpc = reconfigured({"event_buffer": 32768})
    netns("web-1")
    netns("web-2")
    path = str(tmp_path / "netns")
    run("touch", path)
    run("unshare", f"--net={path}", "true")
    owners = [subprocess.Popen(["unshare", "-n", "sleep", "9999"]) for _ in range(2)]
    run("ip", "link", "add", "noise", "type", "dummy")
    burst = tmp_path / "burst"
    burst.write_text("link set noise mtu 1400\nlink set noise mtu 1500\n" * 500)
    gone = {"web-1": "web-1", "path": path, "pid": {"pid": owners[0].pid}, "fd": {"fd": 0}}
    try:
        for p in owners:
            wait_for_netns(p)
        document = {"programs": [program("next1")], "devices": [pair("web-2", "web-2", "10.0.9.1", "10.0.9.2")] + [
            pair(name, ns, f"10.0.{i}.1", f"10.0.{i}.2", attachments=FW) for i, (name, ns) in enumerate(gone.items())]}
        with open(f"/proc/{owners[1].pid}/ns/net") as passed:
            assert rpc.call("state.apply", {"document": document, "wait_ms": 1000 * PATIENCE}, [passed.fileno()])["converged"]
        before, began = rpc.call("daemon.status")["counts"]["resyncs"], journal_now()
        with stopped(main_pid()):
            run("ip", "-batch", burst)
            run("ip", "link", "del", "web-2")
            run("ip", "netns", "del", "web-1")
            run("umount", path)
            for p in owners:
                p.kill()
                p.wait()
            for name in gone:
                until(lambda: not link(name), f"the end of {name}")
        until(lambda: rpc.call("daemon.status")["counts"]["resyncs"] > before, "a resync")
        states = lambda: {d["name"]: d["condition"]["state"] for d in rpc.call("device.list")["devices"]}
        until(lambda: link("web-2") and states() == {"web-2": "Ready", **dict.fromkeys(gone, "Released")}, "all to be told")
        assert rpc.call("daemon.status")["health"] == "ok", "an owner that went is no fault"
    finally:
        for p in owners:
            p.kill()
            p.wait()
        run("umount", path, check=False)
        run("ip", "link", "del", "noise")
    run("journalctl", "--sync")
    told = {name: [e["NETKITD_EVENT"] for e in journal(f"NETKITD_DEVICE={name}", after=began)] for name in ("web-2", *gone)}
    assert told == {"web-2": ["drift", "repaired"], **dict.fromkeys(gone, ["device-released"])}
    # A name that comes back gets its device.
    netns("web-1")
    until(lambda: ping("10.0.0.2"), "the device in the new namespace")


def test_repairs_while_events_are_lost_all_the_time(rpc, netns):
    """Reading everything anew again and again is not all that is done."""
    netns("web-1")
    rpc.converge([pair()])
    before = rpc.call("daemon.status")["counts"]["resyncs"]
    # Each look at the events finds that some are lost; what still waits is then thrown away, by the calls in between.
    strace = traced("-e", "trace=recvmmsg", "-e", "inject=recvmmsg:error=ENOBUFS:when=1+2")
    try:
        run("ip", "addr", "flush", "dev", "web-1")
        until(lambda: addresses("web-1") == {"10.0.0.1/32"}, "its address, though no event is ever read")
        seen = rpc.call("daemon.status")["counts"]["resyncs"]
        assert seen > before + 1
        until(lambda: rpc.call("daemon.status")["counts"]["resyncs"] > seen, "it still to be so")
    finally:
        strace.terminate()
        strace.wait()


@pytest.fixture
def firewall(rpc, netns):
    """A device with a program, and an interface of somebody else with one."""
    netns("web-1")
    run("ip", "link", "add", "eth9", "type", "dummy")
    rpc.converge([pair(attachments=FW)], [program("next1")],
                 [{"name": "eth9", "attachments": [{"name": "fw", "hook": "tcx/ingress", "program": "next1"}]}])
    yield rpc
    run("ip", "link", "del", "eth9")


def test_nothing_is_concluded_from_a_reading_that_failed(firewall, netns):
    rpc = firewall
    held = lambda: (chain("web-1", "netkit/peer"), chain("eth9", "tcx/ingress"))
    before, began = held(), journal_now()
    netns("web-2")
    told = lambda text: [e for e in journal(after=began) if e.get("NETKITD_EVENT") == "resync" and text in e["MESSAGE"]]
    # It can't enter the container: the first call of each reading fails; the second is its way home.
    strace = traced("-f", "-e", "trace=setns", "-e", "inject=setns:error=EMFILE:when=1+2")
    try:
        os.kill(main_pid(), signal.SIGHUP)
        until(lambda: told("failed"), "the failure to be told")
        assert not rpc.apply([pair("web-2", "web-2", "10.0.1.1", "10.0.1.2")], wait=3000)["converged"]
        assert held() == before and link("web-2") is None, "nothing is done meanwhile"
        status = rpc.call("daemon.status")
        assert status["health"] == "degraded" and "can't be read" in " ".join(status["health_reasons"]), status
        with pytest.raises(Exception, match="can't be read"):
            rpc.call("state.rebuild")
        with pytest.raises(Exception, match="can't be read"):
            rpc.apply(mode="replace")
        assert len(told("failed")) == 1, "told once"
    finally:
        strace.terminate()
        strace.wait()
    until(lambda: link("web-2") and ping("10.0.1.2"), "what was asked for meanwhile")
    assert held() == before and told("were read")
    kinds = [e["NETKITD_EVENT"] for e in journal(after=began) if e.get("NETKITD_DEVICE") in ("web-1", "eth9")]
    assert kinds == [], "nothing happened to them"


@pytest.mark.parametrize("what", ["changed", "deleted"])
def test_what_an_inspection_read_is_older_than_an_event(no_udev, rpc, netns, what):
    """The inspection's answer comes with that of the plan that it is the first part of, and that takes its time: on Debian's kernel, where each
    program waits for RCU. On ours the plan may be over before."""
    netns("web-1")
    netns("crowd")
    web = pair(mtu=1450, attachments=FW)
    crowd = [pair(f"c{i}", "crowd", f"10.2.{i}.1", f"10.2.{i}.2", attachments=FW, peer={"name": f"e{i}", "routes": []}) for i in range(60)]
    rpc.converge([web], [program("next1")])
    # Another definition has the device inspected.
    rpc.apply([dict(web, routes=[*web["routes"], {"to": "10.9.9.9/32"}]), *crowd], wait=0)
    until(lambda: link("c0"), "the plan to be on its way")
    if what == "changed":
        run("ip", "link", "set", "web-1", "mtu", "1400")
    else:
        run("ip", "link", "del", "web-1")
    until(lambda: (link("web-1") or {}).get("mtu") == 1450 and len(chain("web-1", "netkit/peer")) == 1, "it to be as desired")
    until(lambda: rpc.call("state.wait", {"revision": rpc.call("state.get")["revision"], "timeout_ms": 240000})["converged"], "all")
    assert ping("10.0.0.2")
