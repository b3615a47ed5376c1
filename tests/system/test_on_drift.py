# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of drift: put back at once, put back later because somebody fights for it, or told and left."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from tools import PINS, VERDICT, RpcError, addresses, chain, journal, journal_now, link, pair, ping, program, run, until

FW = [{"name": "fw", "hook": "netkit/peer", "program": "next1"}]


def condition(rpc, name="web-1"):
    return rpc.call("device.get", {"name": name})["condition"]


def repairs(rpc, name="web-1"):
    return rpc.call("device.get", {"name": name})["repairs"]


def next_of(rpc, kind):
    e = rpc.next_event()
    while e["kind"] != kind:
        e = rpc.next_event()
    return e


def events_since(began, *kinds, of="DEVICE=web-1"):
    return [e for e in journal(f"NETKITD_{of}", after=began) if e["NETKITD_EVENT"] in kinds]


def detach(name="web-1"):
    run("bpftool", "link", "detach", "id", chain(name, "netkit/peer")[0][1])


# ---- the sentence ----

def test_a_repair_is_told_in_a_sentence(rpc, netns):
    netns("web-1")
    rpc.converge([pair(attachments=FW)], [program("next1")])
    rpc.call("event.subscribe")
    p = subprocess.Popen(["bpftool", "link", "detach", "id", str(chain("web-1", "netkit/peer")[0][1])])
    p.wait()
    e = next_of(rpc, "repaired")
    culprit = e["detail"]["culprit"]
    assert re.fullmatch(rf"attachment fw on web-1 was detached by bpftool \(pid {p.pid}, uid 0, {re.escape(culprit['unit'])}\), "
                        r"put back after [0-9.]+ ms", e["detail"]["message"]), e
    assert culprit["unit"].endswith((".service", ".scope"))


@pytest.mark.parametrize("command,what", [
    ("ip link del web-1", "device web-1 was deleted by ip "),
    ("ip link set web-1 down", "device web-1 was taken down by ip "),
    ("ip link set web-1 name other", "device web-1 was renamed by ip "),
    ("ip link set web-1 mtu 1300", "MTU of web-1 was changed by ip "),
    ("ip addr del 10.0.0.1/32 dev web-1", "address 10.0.0.1/32 on web-1 was removed by ip "),
    ("ip route del 10.0.0.2/32 dev web-1", "route 10.0.0.2/32 on web-1 was removed by ip "),
    ("ip -n web-1 link set eth0 down", "the peer of web-1 was taken down by ip "),
    ("ip -n web-1 addr del fd00::2/128 dev eth0", "address fd00::2/128 on the peer of web-1 was removed by ip "),
    ("ip -n web-1 link set eth0 netns 1", "the peer of web-1 was moved to another namespace by ip "),
])
def test_what_was_done_is_told(rpc, netns, command, what):
    netns("web-1")
    rpc.converge([pair(mtu=1400, peer={"addresses": ["10.0.0.2/32", "fd00::2/128"]})])
    rpc.call("event.subscribe")
    run(*command.split())
    drift, repaired = next_of(rpc, "drift"), next_of(rpc, "repaired")
    # A peer on its way to another namespace is seen to go down before.
    early = what.replace("moved to another namespace", "taken down")
    assert drift["detail"]["message"].startswith((what, early)) and drift["detail"]["message"].endswith("; it is put back"), drift
    assert repaired["detail"]["message"].startswith(what) and ", put back after " in repaired["detail"]["message"], repaired


def test_the_unit_is_named_for_a_process_in_a_group_within_it(rpc, netns, tmp_path):
    """A service may have control groups of its own making; who looks at it knows the service."""
    netns("web-1")
    rpc.converge([pair()])
    rpc.call("event.subscribe")
    script = tmp_path / "agent"
    script.write_text("g=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup); mkdir -p $g/worker; echo $$ >$g/worker/cgroup.procs;"
                      "ip addr del 10.0.0.1/32 dev web-1")
    run("systemd-run", "--wait", "--quiet", "--unit=agent", "-p", "Delegate=yes", "sh", script)
    e = next_of(rpc, "repaired")
    assert e["detail"]["culprit"]["unit"] == "agent.service" and e["detail"]["culprit"]["cgroup"] == "worker", e
    assert "agent.service)" in e["detail"]["message"], e


# ---- on_drift: report ----

def test_report_tells_once_and_leaves(rpc, netns):
    netns("web-1")
    rpc.converge([pair(on_drift="report", attachments=FW)], [program("next1")])
    rpc.call("event.subscribe")
    began = journal_now()
    p = subprocess.Popen(["bpftool", "link", "detach", "id", str(chain("web-1", "netkit/peer")[0][1])])
    p.wait()
    e = next_of(rpc, "drift")
    assert e["detail"]["culprit"]["pid"] == p.pid
    c = until(lambda: condition(rpc) if condition(rpc)["state"] == "Degraded" else None, "the condition")
    assert c["reason"] == "Drifted", c
    assert c["message"].startswith("attachment fw on web-1 was detached by bpftool (") and "apply the definition" in c["message"], c
    assert rpc.call("daemon.status")["health"] == "degraded"
    time.sleep(3)
    assert chain("web-1", "netkit/peer") == [] and repairs(rpc) == 0, "nothing is put back"
    assert len(events_since(began, "drift")) == 1 and not events_since(began, "repaired")
    assert condition(rpc) == c


@pytest.mark.parametrize("how", ["apply", "set", "reload", "restart"])
def test_what_was_left_is_put_back_when_it_is_asked_for(rpc, netns, how):
    netns("web-1")
    want = pair(on_drift="report")
    rpc.converge([want])
    run("ip", "addr", "del", "10.0.0.1/32", "dev", "web-1")
    until(lambda: condition(rpc).get("reason") == "Drifted", "the drift to be noticed")
    if how == "apply":
        result = rpc.converge([want])
        assert result["plan"] == {"create": 0, "change": 1, "delete": 0, "unchanged": 0}, result
        assert rpc.apply([want])["plan"]["unchanged"] == 1, "now it is as it should be"
    elif how == "set":
        assert rpc.call("device.set", {"device": want, "wait_ms": 60000})["converged"]
    else:
        run("systemctl", how, "netkitd")
    until(lambda: "10.0.0.1/32" in addresses("web-1"), "the address")


def test_a_plan_shows_what_would_be_put_back(rpc, netns):
    netns("web-1")
    want = pair(on_drift="report")
    rpc.converge([want])
    run("ip", "addr", "del", "10.0.0.1/32", "dev", "web-1")
    until(lambda: condition(rpc).get("reason") == "Drifted", "the drift to be noticed")
    plan = rpc.apply([want], dry_run=True, wait=0)["plan"]
    assert any("10.0.0.1/32" in op["text"] for op in plan["ops"]), plan
    assert condition(rpc)["reason"] == "Drifted" and "10.0.0.1/32" not in addresses("web-1")


def test_what_was_left_is_ready_when_somebody_else_puts_it_back(rpc, netns):
    netns("web-1")
    rpc.converge([pair(on_drift="report")])
    run("ip", "link", "set", "web-1", "mtu", "1300")
    rpc.converge([pair(on_drift="report", mtu=1400)])
    rpc.call("event.subscribe")
    run("ip", "link", "set", "web-1", "mtu", "1300")
    next_of(rpc, "drift")
    until(lambda: condition(rpc)["state"] == "Degraded", "the condition")
    run("ip", "link", "set", "web-1", "mtu", "1400")
    assert "by somebody else's doing" in next_of(rpc, "repaired")["detail"]["message"]
    until(lambda: condition(rpc)["state"] == "Ready", "the condition Ready")
    assert repairs(rpc) == 0


def test_a_deleted_device_is_left_deleted(rpc, netns):
    netns("web-1")
    rpc.converge([pair(on_drift="report")])
    run("ip", "link", "del", "web-1")
    c = until(lambda: condition(rpc) if condition(rpc).get("reason") == "Drifted" else None, "the condition")
    assert "device web-1 was deleted by ip (" in c["message"], c
    time.sleep(2)
    assert link("web-1") is None
    rpc.converge([pair(on_drift="report")])
    assert ping("10.0.0.2")


def test_report_and_required_contradict(rpc, netns):
    netns("web-1")
    with pytest.raises(RpcError) as e:
        rpc.apply([pair(on_drift="report", attachments=[{**FW[0], "required": True}])], [program("next1")])
    assert e.value.pointers == ["/document/devices/0/attachments/0/required"] and "on_drift" in str(e.value)
    with pytest.raises(RpcError) as e:
        rpc.apply([pair(on_drift="ignore")])
    assert e.value.pointers == ["/document/devices/0/on_drift"]


# ---- who does it again and again ----

class Fight:
    """A program that breaks the device whenever it has been put back."""

    def __init__(self, breaks):
        self.p = subprocess.Popen(["sh", "-c", f"while :; do {breaks}; sleep 0.05; done"], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL, process_group=0)

    def end(self):
        if self.p.returncode is None:
            os.killpg(self.p.pid, signal.SIGKILL)
            self.p.wait()


@pytest.fixture
def fight():
    running = []

    def begin(breaks):
        running.append(Fight(breaks))
        return running[-1]
    yield begin
    for f in running:
        f.end()


def test_who_does_it_again_and_again_is_counted(rpc, netns, fight):
    netns("web-1")
    rpc.converge([pair()])
    began = journal_now()
    f = fight("ip addr del 10.0.0.1/32 dev web-1")
    c = until(lambda: condition(rpc) if condition(rpc).get("reason") == "Contended" else None, "the fight to be noticed")
    assert c["state"] == "Degraded" and re.match(r"ip \(uid 0, .*\) has changed it [0-9]+ times", c["message"]), c
    assert rpc.call("daemon.status")["health"] == "degraded"
    until(lambda: repairs(rpc) >= 6, "repairs to go on")
    f.end()
    assert len(events_since(began, "contended")) == 1
    # The first three are told; of the further ones nothing but their number.
    assert len(events_since(began, "drift")) == 3 and len(events_since(began, "repaired")) <= 3
    until(lambda: "10.0.0.1/32" in addresses("web-1"), "the last repair")
    until(lambda: condition(rpc)["state"] == "Ready", "the fight to be forgotten")
    end = until(lambda: events_since(began, "contention-ended"), "its end to be told")
    assert len(end) == 1 and int(end[0]["NETKITD_COUNT"]) >= 6 and end[0]["MESSAGE"].startswith("device web-1: ip (uid 0, "), end
    # And then everything is as before.
    began = journal_now()
    run("ip", "addr", "del", "10.0.0.1/32", "dev", "web-1")
    until(lambda: events_since(began, "repaired"), "a repair that is told")


# Asks for the same all the time, mostly in vain: an address to be removed, or an MTU.
TIRELESS = """
import socket, struct, sys
index, kind = int(sys.argv[1]), int(sys.argv[2])
body = (struct.pack("BBBBI", socket.AF_INET, 32, 0, 0, index) + struct.pack("HH", 8, 2) + bytes([10, 0, 0, 1]) if kind == 21
        else struct.pack("BxHiII", 0, 0, index, 0, 0) + struct.pack("HHI", 8, 4, 1300))
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
while True:
    s.send(struct.pack("IHHII", 16 + len(body), kind, 5, 1, 0) + body)
    s.recv(65536)
"""


@pytest.mark.parametrize("what,kind", [("address 10.0.0.1/32 on web-1 was removed", 21), ("MTU of web-1 was changed", 19)])
def test_who_leaves_no_pause_is_named(rpc, netns, tmp_path, fight, what, kind):
    """The device is never seen to be right in between."""
    netns("web-1")
    rpc.converge([pair(mtu=1400)])
    began = journal_now()
    (tmp_path / "tireless").write_text(TIRELESS)
    f = fight(f"python3 {tmp_path}/tireless {link('web-1')['ifindex']} {kind}")
    c = until(lambda: condition(rpc) if condition(rpc).get("reason") == "Contended" else None, "the fight to be noticed")
    assert c["message"].startswith("python3 (uid 0, ") and f"(the last time: {what} by python3 (pid " in c["message"], c
    told = events_since(began, "drift", "contended", "device-degraded")
    assert [e["NETKITD_EVENT"] for e in told] == ["drift"] * 3 + ["contended"], told
    f.end()
    until(lambda: condition(rpc)["state"] == "Ready", "the fight to be forgotten")
    assert "10.0.0.1/32" in addresses("web-1") and link("web-1")["mtu"] == 1400


def test_repairs_of_a_fight_wait_longer_and_longer(rpc, netns, fight):
    netns("web-1")
    rpc.converge([pair()])
    fight("ip addr del 10.0.0.1/32 dev web-1")
    until(lambda: repairs(rpc) >= 4, "the fight")
    at = []
    for n in (5, 6, 7):
        until(lambda: repairs(rpc) >= n, f"repair {n}")
        at.append(time.monotonic())
    # 200 ms double each time, so that after four of them more than a second passes.
    assert at[2] - at[1] > 0.9, at


PATIENT = {"retry_min_ms": 600000, "retry_max_ms": 600000}  # repairs of a fight wait for longer than any test does


def test_a_fight_in_the_container_does_not_keep_a_program_from_coming_back(reconfigured, netns, fight):
    netns("web-1")
    rpc = reconfigured(PATIENT)
    rpc.converge([pair(attachments=FW)], [program("next1")])
    fight("ip -n web-1 addr del 10.0.0.2/32 dev eth0")
    until(lambda: condition(rpc).get("reason") == "Contended" and "10.0.0.2/32" not in addresses("eth0", "web-1"), "a repair that waits")
    detach()
    until(lambda: chain("web-1", "netkit/peer"), "the program, which does not wait for the other repair")


def test_a_required_program_that_is_fought_for_closes_the_device_at_once(reconfigured, netns, fight):
    netns("web-1")
    rpc = reconfigured(PATIENT)
    rpc.converge([pair(attachments=[{**FW[0], "required": True}])], [program("next1")])
    fight("for i in $(bpftool net show dev web-1 | sed -n 's/.*link_id \\([0-9]*\\).*/\\1/p'); do bpftool link detach id $i; done")
    # The first repairs do not wait: the device is closed for an instant only.
    until(lambda: condition(rpc).get("reason") == "Contended", "the fight")
    until(lambda: "UP" not in link("web-1")["flags"], "the device to be closed")
    assert not chain("web-1", "netkit/peer"), "and not only once the program comes back"


def test_another_one_is_not_kept_waiting(rpc, netns, fight):
    """He who fights is slowed down, not he who errs once."""
    netns("web-1")
    netns("web-2")
    rpc.converge([pair(), pair("web-2", "web-2", "10.0.1.1", "10.0.1.2")])
    fight("ip addr del 10.0.0.1/32 dev web-1")
    until(lambda: condition(rpc).get("reason") == "Contended", "the fight")
    run("ip", "link", "del", "web-2")
    until(lambda: link("web-2"), "the other device")
    assert condition(rpc, "web-2")["state"] != "Degraded"


# ---- of a program ----

LONG = "of.several-departments_and.with-a-name.that-is-as-long-as-may-be"[:63]


def encoded(name):
    return name.replace(".", "%2E")


def unpin(name="next1"):
    """Remove the program's pin; who did it."""
    p = subprocess.Popen(["rm", f"{PINS}/programs/{encoded(name)}"])
    assert p.wait() == 0
    return p.pid


def pinned(name="next1"):
    """Kernel id of what is pinned as this program; None: nothing is."""
    path = f"{PINS}/programs/{encoded(name)}"
    return json.loads(run("bpftool", "-j", "prog", "show", "pinned", path))["id"] if os.path.exists(path) else None


def of_program(rpc, name="next1"):
    return next(p for p in rpc.call("program.list")["programs"] if p.get("name") == name)


def drifted(rpc):
    return until(lambda: (lambda c: c if c.get("reason") == "Drifted" else None)(of_program(rpc)["condition"]), "the drift to be noticed")


@pytest.mark.parametrize("name", ["next1", LONG])
def test_a_removed_pin_is_told_and_put_back(rpc, netns, name):
    netns("web-1")
    rpc.converge([pair(attachments=[{**FW[0], "program": name}])], [program(name, "next1"), program("next2")])
    before, attached = pinned(name), chain("web-1", "netkit/peer")
    rpc.call("event.subscribe")
    unpin("next2")
    pid = unpin(name)
    told = {}
    while len(told) < 4:
        e = rpc.next_event()
        if e["kind"] in ("drift", "repaired"):
            told[e["kind"], e["object"]] = e["detail"]
    drift, repaired = told["drift", f"program/{name}"], told["repaired", f"program/{name}"]
    assert drift["culprit"]["pid"] == pid and told["drift", "program/next2"]["culprit"]["pid"] != pid
    what = rf"the pin of program {re.escape(name)} was removed by rm \(pid {pid}, uid 0, {re.escape(drift['culprit']['unit'])}\)"
    assert re.fullmatch(what + "; it is put back", drift["message"]), drift
    assert re.fullmatch(what + ", put back after [0-9]+ ms", repaired["message"]), repaired
    assert pinned(name) == before and chain("web-1", "netkit/peer") == attached
    assert of_program(rpc, name)["condition"]["state"] == "Ready"
    assert re.search(what + ", put back after", run("netkitd-cli", "history"))


@pytest.mark.parametrize("what", ["moved away", "replaced"])
def test_a_pin_that_is_moved_comes_back(rpc, what):
    """Nobody is known for that."""
    rpc.converge([], [program("next1"), program("next2")])
    before, at = pinned(), f"{PINS}/programs"
    rpc.call("event.subscribe")
    if what == "replaced":
        run("bpftool", "prog", "pin", "id", pinned("next2"), f"{at}/other")
        os.rename(f"{at}/other", f"{at}/next1")
    else:
        os.rename(f"{at}/next1", f"{at}/other")
    assert next_of(rpc, "drift")["detail"]["message"] == "the pin of program next1 was removed; it is put back"
    next_of(rpc, "repaired")
    assert pinned() == before
    if what == "moved away":
        os.unlink(f"{at}/other")


@pytest.mark.parametrize("how", ["apply", "repair", "reload", "restart"])
def test_a_pin_that_was_left_away_is_put_back_when_it_is_asked_for(rpc, netns, how):
    netns("web-1")
    want = {**program("next1"), "on_drift": "report"}
    rpc.converge([pair(attachments=FW)], [want])
    before, began = pinned(), journal_now()
    pid = unpin()
    c = drifted(rpc)
    assert f"the pin of program next1 was removed by rm (pid {pid}, " in c["message"] and "apply the definition of next1" in c["message"], c
    assert rpc.call("daemon.status")["health"] == "degraded"
    time.sleep(3)
    assert pinned() is None and of_program(rpc)["condition"] == c
    assert len(events_since(began, "drift", of="PROGRAM=next1")) == 1 and not events_since(began, "repaired", of="PROGRAM=next1")
    if how == "apply":
        assert [op["op"] for op in rpc.apply([], [want], dry_run=True, wait=0)["plan"]["ops"]] == ["load"]
        assert of_program(rpc)["condition"] == c
        rpc.converge([], [want])
    elif how == "repair":
        rpc.converge([], [program("next1")])
    else:
        run("systemctl", how, "netkitd")
    until(pinned, "the pin")
    assert ping("10.0.0.2")
    if how != "restart":
        assert pinned() == before and of_program(rpc)["condition"]["state"] == "Ready"


def test_a_pin_is_put_back_though_the_object_is_gone(rpc, tmp_path):
    shutil.copy(VERDICT, tmp_path / "own.o")
    want = {**program("next1", object=str(tmp_path / "own.o")), "on_drift": "report"}
    rpc.converge([], [want])
    before = pinned()
    unpin()
    drifted(rpc)
    os.unlink(tmp_path / "own.o")
    assert not rpc.apply([], [want])["converged"]
    c = of_program(rpc)["condition"]
    assert pinned() == before and c["reason"] == "NotUpgraded" and "own.o" in c["message"], c


def test_a_pin_that_was_left_away_and_comes_back(rpc):
    rpc.converge([], [{**program("next1"), "on_drift": "report"}])
    before = pinned()
    unpin()
    drifted(rpc)
    rpc.call("event.subscribe")
    run("bpftool", "prog", "pin", "id", before, f"{PINS}/programs/next1")
    assert next_of(rpc, "repaired")["detail"]["message"] == "program next1 is as desired again, by somebody else's doing"
    until(lambda: of_program(rpc)["condition"]["state"] == "Ready", "the condition Ready")


def test_what_becomes_of_drift_is_changed_without_loading(rpc, netns):
    netns("web-1")
    rpc.converge([pair(attachments=FW)], [program("next1")])
    before, began = (pinned(), chain("web-1", "netkit/peer")), journal_now()
    want = {**program("next1"), "on_drift": "report"}
    assert rpc.apply([], [want], dry_run=True, wait=0)["plan"]["ops"] == []
    rpc.converge([], [want])
    assert rpc.call("state.get")["document"]["programs"] == [want]
    assert (pinned(), chain("web-1", "netkit/peer")) == before
    assert not events_since(began, "program-loaded", of="PROGRAM=next1")
    unpin()
    drifted(rpc)


@pytest.mark.parametrize("command", ["rm", "python3"])
def test_who_removes_a_pin_again_and_again_is_counted(rpc, fight, command):
    """With a pause in between, or at the very moment that it is back."""
    rpc.converge([], [program("next1")])
    before, began, pin = pinned(), journal_now(), f"{PINS}/programs/next1"
    f = fight(f"rm {pin}" if command == "rm" else f"""python3 -c '
import os
while True:
    if os.path.exists("{pin}"):
        os.unlink("{pin}")'""")
    contended = lambda: (lambda c: c if c.get("reason") == "Contended" else None)(of_program(rpc)["condition"])
    c = until(contended, "the fight to be noticed")
    assert c["state"] == "Degraded" and re.match(command + r" \(uid 0, .*\) has changed it [0-9]+ times", c["message"]), c
    until(lambda: (lambda c: c and int(re.search("([0-9]+) times", c["message"])[1]) >= 6)(contended()), "repairs to go on")
    f.end()
    told = events_since(began, "drift", "repaired", "contended", of="PROGRAM=next1")
    assert [e["NETKITD_EVENT"] for e in told] == ["drift", "repaired"] * 3 + ["contended"], told
    until(lambda: of_program(rpc)["condition"]["state"] == "Ready", "the fight to be forgotten")
    end = events_since(began, "contention-ended", of="PROGRAM=next1")
    assert len(end) == 1 and int(end[0]["NETKITD_COUNT"]) >= 6 and end[0]["MESSAGE"].startswith(f"program next1: {command} (uid 0, "), end
    assert pinned() == before
