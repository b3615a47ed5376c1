# SPDX-License-Identifier: GPL-2.0-only
"""Where programs come from, and what becomes of their attachments when a new version comes."""
import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import threading

import pytest
from tools import PINS, VERDICT, Rpc, RpcError, chain, link, pair, ping, program, restart, run, until, wait_for_daemon

TESTS = "/usr/lib/netkitd-tests"
V1, V2, V3 = (f"{TESTS}/upgrade{n}.bpf.o" for n in (1, 2, 3))
BPFFS = "/sys/fs/bpf/t"
SETTINGS = "/etc/netkitd/netkitd.json"
DENIED, PARAMS = 3, -32602


@pytest.fixture
def bpffs():
    """A directory for pins that are not netkitd's."""
    os.makedirs(BPFFS)
    yield BPFFS
    shutil.rmtree(BPFFS)


@pytest.fixture
def web(rpc, netns):
    """Three namespaces, and devices for them: web(program, …) makes them have these at the peer's hook, in this order."""
    for i in range(3):
        netns(f"n{i}")
        run("ip", "netns", "exec", f"n{i}", "sysctl", "-q", "net.ipv6.conf.default.disable_ipv6=1")

    def devices(*programs):
        return [pair(f"d{i}", f"n{i}", f"10.1.{i}.1", f"10.1.{i}.2",
                     attachments=[{"name": p, "hook": "netkit/peer", "program": p} for p in programs]) for i in range(3)]
    return devices


def load_all(path, where):
    """Load and pin an object's programs as somebody else would."""
    os.makedirs(where, exist_ok=True)
    run("bpftool", "prog", "loadall", path, where)
    return where


def prog(**by):
    (how, value), = by.items()
    return json.loads(run("bpftool", "-j", "prog", "show", how, value))


def descriptor(path):
    """BPF_OBJ_GET: a descriptor of what is pinned."""
    name = ctypes.create_string_buffer(path.encode())
    attr = ctypes.create_string_buffer(16)
    ctypes.c_uint64.from_buffer(attr).value = ctypes.addressof(name)
    fd = ctypes.CDLL(None, use_errno=True).syscall(321, 7, attr, 16)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return fd


def maps_of(prog_id):
    """Name to id of a program's maps."""
    ids = prog(id=prog_id).get("map_ids", [])
    return {m["name"]: m["id"] for m in (json.loads(run("bpftool", "-j", "map", "show", "id", i)) for i in ids)}


def values(map_id):
    return [int.from_bytes(bytes(int(b, 16) for b in e["value"]), "little")
            for e in json.loads(run("bpftool", "-j", "map", "dump", "id", map_id))]


def held(n=3):
    """The programs' ids at each device's peer hook."""
    return [[p for p, _ in chain(f"d{i}", "netkit/peer")] for i in range(n)]


def condition(rpc, name):
    return next(p for p in rpc.call("program.list")["programs"] if p["name"] == name)["condition"]


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


# ---- where they come from ----

def test_a_program_is_loaded_once(rpc, web):
    rpc.converge(web("counts"), [program("counts", object=V1)])
    assert len({p for chains in held() for p in chains}) == 1 and all(held())


def test_from_a_pin(rpc, web, bpffs):
    load_all(VERDICT, f"{bpffs}/v")
    theirs = prog(pinned=f"{bpffs}/v/next1")["id"]
    rpc.converge(web("a"), [{"name": "a", "pin": f"{bpffs}/v/next1"}])
    assert held() == [[theirs]] * 3
    # Whoever pinned it goes, and the daemon is started again: it is ours now.
    shutil.rmtree(f"{bpffs}/v")
    rpc = restart()
    assert held() == [[theirs]] * 3
    until(lambda: condition(rpc, "a")["state"] == "Degraded", "the missing pin to be told")
    assert "stays" in condition(rpc, "a")["message"] and f"{bpffs}/v/next1" in condition(rpc, "a")["message"]
    assert all(d["condition"]["state"] == "Ready" for d in rpc.call("device.list")["devices"])


def test_from_our_own_pin(rpc, web):
    """As a rebuilt document has it: it is still the object's program when that is said again."""
    rpc.converge(web("counts"), [program("counts", object=V1)])
    before = held()
    rpc.converge([], [{"name": "counts", "pin": f"{PINS}/programs/counts"}])
    rpc = restart()
    rpc.converge([], [program("counts", object=V1)])
    assert held() == before


def test_what_else_may_be_pinned(rpc, bpffs):
    load_all(V1, f"{bpffs}/v")
    run("bpftool", "map", "create", f"{bpffs}/m", "type", "hash", "key", "4", "value", "8", "entries", "2", "name", "m")
    for pin, words in ((f"{bpffs}/m", "not a BPF program"), (f"{bpffs}/v/of_xdp", "xdp"), (f"{bpffs}/none", "No such file")):
        result = rpc.apply([], [{"name": "a", "pin": pin}])
        message = result["pending"][0]["condition"]["message"]
        assert pin in message and words in message, message


def test_from_a_descriptor(rpc, web, bpffs):
    load_all(VERDICT, f"{bpffs}/v")
    theirs = prog(pinned=f"{bpffs}/v/next1")["id"]
    fd = descriptor(f"{bpffs}/v/next1")
    document = {"programs": [{"name": "a", "fd": 0}], "devices": web("a")}
    result = rpc.call("state.apply", {"document": document, "wait_ms": 20000}, [fd])
    assert result["converged"], result
    os.close(fd)
    shutil.rmtree(f"{bpffs}/v")
    assert held() == [[theirs]] * 3 and os.listdir(f"{PINS}/passed") == [str(theirs)]
    rpc = restart()
    until(lambda: condition(rpc, "a")["state"] == "Ready", "the program")
    assert held() == [[theirs]] * 3
    # What the daemon gives out it takes back, and knows as the same.
    state = rpc.call("state.get")
    passed = state["document"]["programs"][0]["passed"]
    assert passed["id"] == theirs and passed["boot_id"] == open("/proc/sys/kernel/random/boot_id").read().strip()
    again = rpc.converge(state["document"]["devices"], state["document"]["programs"], mode="replace")
    assert again["revision"] == state["revision"]
    # Even where nothing but the kernel's number of it is left.
    os.unlink(f"{PINS}/programs/a")
    rpc.converge(state["document"]["devices"], [{"name": "b", "passed": passed}])
    rpc.converge(mode="replace")
    until(lambda: os.listdir(f"{PINS}/passed") == [] and os.listdir(f"{PINS}/programs") == [], "the pins to go")
    until(lambda: subprocess.run(["bpftool", "prog", "show", "id", str(theirs)], capture_output=True).returncode != 0,
          "the program to go with them")


@pytest.mark.parametrize("what,words", [("map", "not a BPF program"), ("null", "not a BPF program"), ("xdp", "xdp"), ("none", "1 is meant")])
def test_a_descriptor_that_is_no_program(rpc, web, bpffs, what, words):
    load_all(V1, f"{bpffs}/v")
    run("bpftool", "map", "create", f"{bpffs}/m", "type", "hash", "key", "4", "value", "8", "entries", "2", "name", "m")
    fd = {"map": lambda: descriptor(f"{bpffs}/m"), "xdp": lambda: descriptor(f"{bpffs}/v/of_xdp"),
          "null": lambda: os.open("/dev/null", os.O_RDONLY), "none": lambda: descriptor(f"{bpffs}/v/counts")}[what]()
    before = rpc.call("state.get")
    with pytest.raises(RpcError) as e:
        rpc.call("state.apply", {"document": {"programs": [{"name": "a", "fd": int(what == "none")}], "devices": web("a")}}, [fd])
    os.close(fd)
    assert e.value.code == PARAMS and e.value.pointers == ["/document/programs/0/fd"] and words in e.value.message, e.value
    assert rpc.call("state.get") == before and link("d0") is None and os.listdir(f"{PINS}/passed") == []


def test_a_refused_request_keeps_no_descriptor(rpc, web, bpffs):
    load_all(VERDICT, f"{bpffs}/v")
    fd = descriptor(f"{bpffs}/v/next1")
    document = {"programs": [{"name": "a", "fd": 0}], "devices": web("a")}
    rpc.call("state.apply", {"document": document, "dry_run": True}, [fd])
    for devices, more in ((web("a"), {"expected_revision": 0}), ([dict(web("a")[0], mtu="x")], {}), (web("nobody"), {})):
        with pytest.raises(RpcError):
            rpc.call("state.apply", {"document": dict(document, devices=devices), **more}, [fd])
    os.close(fd)
    assert os.listdir(f"{PINS}/passed") == []


def test_digest(rpc, web):
    rpc.converge(web("counts"), [dict(program("counts", object=V1), sha256=sha256(V1))])
    before = held()
    # The wrong one for a new program, and for one that has a version already.
    result = rpc.apply([], [dict(program("totals", object=V1), sha256=sha256(V2)), dict(program("counts", object=V2), sha256=sha256(V1))])
    conditions = {p["object"]: p["condition"] for p in result["pending"]}
    for name in ("program/totals", "program/counts"):
        assert conditions[name]["state"] == "Degraded"
        assert sha256(V1) in conditions[name]["message"] and sha256(V2) in conditions[name]["message"]
    assert conditions["program/totals"]["reason"] == "NotLoaded" and conditions["program/counts"]["reason"] == "NotUpgraded"
    assert held() == before


def test_what_is_loaded_is_what_was_checked(rpc, web, tmp_path):
    """A file that changes all the time: its digest's version or none."""
    path = tmp_path / "x.bpf.o"
    shutil.copy(V1, path)
    rpc.converge(web("counts"), [program("counts", object=str(path))])
    tag = prog(id=held()[0][0])["tag"]
    contents = [open(v, "rb").read() for v in (V1, V2)]
    stop = threading.Event()

    def change():
        with open(path, "r+b") as f:
            while not stop.is_set():
                for c in contents:
                    f.seek(0)
                    f.write(c)
                    f.flush()
    writer = threading.Thread(target=change)
    writer.start()
    try:
        for i in range(10):
            document = [dict(program("counts", object=str(path)), sha256=sha256(V1), replace_maps=bool(i % 2))]
            rpc.apply([], document, wait=1000)
            assert {prog(id=p)["tag"] for chains in held() for p in chains} == {tag}
    finally:
        stop.set()
        writer.join()


@pytest.fixture
def object_dirs(rpc, tmp_path):
    """The daemon allows objects from tmp_path/allowed alone."""
    allowed = tmp_path / "allowed"
    (allowed / "sub").mkdir(parents=True)
    saved = open(SETTINGS).read() if os.path.exists(SETTINGS) else None
    settings = dict(json.loads(saved or "{}"), object_dirs=[f"{allowed}/"])
    os.makedirs(os.path.dirname(SETTINGS), exist_ok=True)
    with open(SETTINGS, "w") as f:
        json.dump(settings, f)
    run("systemctl", "restart", "netkitd")
    yield allowed
    if saved is None:
        os.unlink(SETTINGS)
    else:
        with open(SETTINGS, "w") as f:
            f.write(saved)
    run("systemctl", "restart", "netkitd")


def test_allowed_directories(object_dirs):
    rpc = wait_for_daemon()
    shutil.copy(V1, object_dirs / "sub" / "a.bpf.o")
    shutil.copy(V1, object_dirs.parent / "outside.bpf.o")
    (object_dirs / "inside").symlink_to("sub/a.bpf.o")
    (object_dirs / "out").symlink_to("../outside.bpf.o")
    (object_dirs / "absolute").symlink_to(object_dirs.parent / "outside.bpf.o")
    (object_dirs / "up").symlink_to("..")
    for path in (object_dirs.parent / "outside.bpf.o", f"{object_dirs}/../outside.bpf.o", f"{object_dirs}x/a.bpf.o", V1):
        with pytest.raises(RpcError) as e:
            rpc.apply([], [program("counts", object=str(path))])
        assert e.value.code == DENIED and e.value.pointers == ["/document/programs/0/object"]
    for path in ("sub/a.bpf.o", "inside"):
        rpc.converge([], [program("counts", object=f"{object_dirs}/{path}")], mode="replace")
    for path in ("out", "absolute", "up/outside.bpf.o"):
        rpc.converge(mode="replace")
        result = rpc.apply([], [program("counts", object=f"{object_dirs}/{path}")])
        message = result["pending"][0]["condition"]["message"]
        assert f"{object_dirs}/{path}" in message and "leads out" in message, message


def test_shared_maps(rpc, web, bpffs):
    run("bpftool", "map", "create", f"{bpffs}/total", "type", "array", "key", "4", "value", "8", "entries", "1", "name", "theirs")
    shared = json.loads(run("bpftool", "-j", "map", "show", "pinned", f"{bpffs}/total"))["id"]
    maps = {"maps": {"total": f"{bpffs}/total"}}
    rpc.converge(web("counts"), [dict(program("counts", object=V1), **maps), dict(program("totals", object=V2), **maps)])
    ids = {p["name"]: p["id"] for p in rpc.call("program.list")["programs"]}
    assert maps_of(ids["counts"])["theirs"] == shared and maps_of(ids["totals"]) == {"theirs": shared}
    assert ping("10.1.0.1", "n0")
    assert values(shared) == [1]
    # Shared no more: it gets one of its own.
    rpc.converge([], [program("counts", object=V1)])
    fresh = {p["name"]: p["id"] for p in rpc.call("program.list")["programs"]}["counts"]
    assert shared not in maps_of(fresh).values() and held() == [[fresh]] * 3


@pytest.mark.parametrize("maps,words", [
    ({"total": "/sys/fs/bpf/t/none"}, ("/sys/fs/bpf/t/none", "No such file")),
    ({"total": "/sys/fs/bpf/t/v/counts"}, ("/sys/fs/bpf/t/v/counts", "not a map")),
    ({"totals": "/sys/fs/bpf/t/m"}, ("'totals'", "it has: total, seen")),
    ({"total": "/sys/fs/bpf/t/m"}, ("'total'", "type array, not hash", "max_entries 1, not 2", "value_size 8, not 16")),
], ids=["missing", "not a map", "unknown", "another definition"])
def test_maps_that_do_not_fit(rpc, web, bpffs, maps, words):
    load_all(V1, f"{bpffs}/v")
    run("bpftool", "map", "create", f"{bpffs}/m", "type", "hash", "key", "4", "value", "16", "entries", "2", "name", "m")
    result = rpc.apply(web("counts"), [dict(program("counts", object=V1), maps=maps)])
    conditions = {p["object"]: p["condition"] for p in result["pending"]}
    message = conditions["program/counts"]["message"]
    assert all(w in message for w in words), message
    assert conditions["device/d0"]["reason"] == "ProgramNotLoaded"
    assert link("d0") is None or "UP" not in link("d0")["flags"]


@pytest.mark.parametrize("document,words", [
    (program("of_xdp", object=V1), ("of_xdp", "section 'xdp'")),
    (program("reads_too_far", object=f"{TESTS}/reject.bpf.o"), ("invalid access to packet", "END PROG LOAD LOG")),
], ids=["type", "verifier"])
def test_programs_that_the_kernel_does_not_take(rpc, web, document, words):
    rpc.converge([], [program("next1")])
    result = rpc.apply(web("next1", document["name"]), [document])
    conditions = {p["object"]: p["condition"] for p in result["pending"]}
    message = conditions[f"program/{document['name']}"]["message"]
    assert document["object"] in message and all(w in message for w in words), message
    assert all(link(f"d{i}") is None for i in range(3)), "nothing is attached to half"


# ---- new versions ----

def test_an_upgrade_keeps_links_and_maps(rpc, web):
    rpc.converge(web("counts"), [program("counts", object=V1)])
    old, links = held()[0][0], [chain(f"d{i}", "netkit/peer")[0][1] for i in range(3)]
    before = maps_of(old)
    for i in range(3):
        assert ping(f"10.1.{i}.1", f"n{i}")
    rpc.call("event.subscribe")
    rpc.converge([], [program("counts", object=V2)])
    new = held()[0][0]
    assert new != old and held() == [[new]] * 3
    assert [chain(f"d{i}", "netkit/peer")[0][1] for i in range(3)] == links, "exchanged in place"
    assert maps_of(new) == before, "the same maps"
    assert prog(pinned=f"{PINS}/programs/counts")["id"] == new
    assert ping("10.1.0.1", "n0")
    assert values(before["total"]) == [4] and values(before["seen"]) == [0, 3, 1, 0]
    rpc.call("daemon.status")
    told = {e["kind"]: e["detail"]["message"] for e in rpc.events}
    assert "3 attachments" in told["program-loaded"] and "drift" not in told, told
    until(lambda: subprocess.run(["bpftool", "prog", "show", "id", str(old)], capture_output=True).returncode != 0, "the old version to go")


def test_a_map_that_changed(rpc, web):
    rpc.converge(web("counts"), [program("counts", object=V1)])
    old = held()
    maps = maps_of(old[0][0])
    assert ping("10.1.0.1", "n0")
    result = rpc.apply([], [program("counts", object=V3)])
    found = result["pending"][0]["condition"]
    assert found["reason"] == "NotUpgraded" and f"id {old[0][0]}, stays" in found["message"], found
    assert "'total'" in found["message"] and "value_size 4, not 8" in found["message"], found
    assert held() == old and all(d["condition"]["state"] == "Ready" for d in rpc.call("device.list")["devices"])
    # The document allows it: this map begins anew, the other one goes on.
    rpc.converge([], [dict(program("counts", object=V3), replace_maps=True)])
    new = maps_of(held()[0][0])
    assert new["seen"] == maps["seen"] and new["total"] != maps["total"]
    assert values(new["total"]) == [0] and values(new["seen"]) == [0, 1, 0, 0]


def test_all_or_nothing(rpc, web, bpffs):
    load_all(VERDICT, f"{bpffs}/v")
    x, y = (prog(pinned=f"{bpffs}/v/{name}")["id"] for name in ("next1", "next2"))
    devices = web("a")
    devices[1]["attachments"].append({"name": "b", "hook": "netkit/peer", "program": "b"})
    rpc.converge(devices, [{"name": "a", "pin": f"{bpffs}/v/next1"}, {"name": "b", "pin": f"{bpffs}/v/next2"}])
    assert held() == [[x], [x, y], [x]]
    # d1's chain holds the new version already, as b, and a chain takes a program once.
    result = rpc.apply([], [{"name": "a", "pin": f"{bpffs}/v/next2"}])
    found = result["pending"][0]["condition"]
    assert found["reason"] == "NotUpgraded" and "d1" in found["message"] and "'a'" in found["message"], found
    assert held() == [[x], [x, y], [x]]
    # It isn't in the way any more.
    rpc.converge(web("a"))
    until(lambda: held() == [[y]] * 3, "the next try")


def test_another_attachments_program_stays(rpc, web, bpffs):
    """Two programs of the document that are one in the kernel: the upgrade of one is not the other's."""
    load_all(VERDICT, f"{bpffs}/v")
    x, y = (prog(pinned=f"{bpffs}/v/{name}")["id"] for name in ("next1", "next2"))
    devices = web("a")
    devices[1]["attachments"] = [{"name": "b", "hook": "netkit/peer", "program": "b"}]
    rpc.converge(devices, [{"name": "a", "pin": f"{bpffs}/v/next1"}, {"name": "b", "pin": f"{bpffs}/v/next1"}])
    rpc.converge([], [{"name": "a", "pin": f"{bpffs}/v/next2"}])
    assert held() == [[y], [x], [y]]


def test_a_changed_file_is_taken_at_the_reload(rpc, web, tmp_path):
    path = tmp_path / "x.bpf.o"
    shutil.copy(V1, path)
    rpc.converge(web("counts"), [program("counts", object=str(path))])
    old = held()
    shutil.copy(V2, path)
    rpc.converge([dict(web("counts")[0], mtu=1400)])
    assert held() == old, "not by itself"
    run("systemctl", "reload", "netkitd")
    new = held()
    assert new != old and len({p for chains in new for p in chains}) == 1
    # One that can't be used changes nothing, now and at the next start.
    path.write_text("not ELF at all")
    for again in (lambda: run("systemctl", "reload", "netkitd"), restart):
        again()
        rpc = Rpc()
        until(lambda: condition(rpc, "counts")["state"] == "Degraded", "the broken file to be told")
        assert condition(rpc, "counts")["reason"] == "NotUpgraded"
        assert held() == new and all(d["condition"]["state"] == "Ready" for d in rpc.call("device.list")["devices"])
    # A new device gets what the others have.
    rpc.apply([pair("d9", "n0", "10.1.9.1", "10.1.9.2", peer={"name": "eth9", "routes": []},
                    attachments=[{"name": "counts", "hook": "netkit/peer", "program": "counts"}])])
    assert [p for p, _ in chain("d9", "netkit/peer")] == new[0]


SENDER = """
import select, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
n = 0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(50):
        s.sendto(b"x", ("10.1.0.1", 9))
        n += 1
print(n)
"""


def test_no_packet_is_seen_by_neither_version(rpc, web):
    """Under traffic, to and fro: what the versions have seen is what was sent."""
    rpc.converge(web("counts"), [program("counts", object=V1)])
    maps = maps_of(held()[0][0])
    sender = subprocess.Popen(["ip", "netns", "exec", "n0", "python3", "-c", SENDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    sender.stdout.readline()
    for i in range(10):
        before = values(maps["seen"])
        rpc.converge([], [program("counts", object=(V2, V1)[i % 2])])
        until(lambda: values(maps["seen"])[2 - i % 2] > before[2 - i % 2], "packets for the new version")
    sender.stdin.write("\n")
    sender.stdin.close()
    sent = int(sender.stdout.read())
    assert sender.wait() == 0
    seen = values(maps["seen"])
    assert sent > 500 and seen[1] and seen[2]
    assert seen[1] + seen[2] == sent and values(maps["total"]) == [sent]


def test_a_program_that_is_wanted_again_while_it_goes(rpc):
    """The document names it again while it is taken away, among many that are loaded."""
    want = [program("next1")]
    rpc.converge([], want)
    rpc.apply([], [program(f"p{i}", "next1") for i in range(30)], mode="replace", wait=0)
    rpc.converge([], want)
    listed = {p["name"]: p["id"] for p in rpc.call("program.list")["programs"] if p.get("name")}
    assert listed["next1"] == prog(pinned=f"{PINS}/programs/next1")["id"]
