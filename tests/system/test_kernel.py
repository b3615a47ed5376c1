# SPDX-License-Identifier: GPL-2.0-only
"""The executor, the loader and the watcher against the real kernel, without a daemon: kernel_check runs one plan and says what came
back; what the kernel then holds is read with ip and bpftool."""
import json
import os
import subprocess

import pytest
from tools import ACCT, Lines, ip, link, run, until

CHECK = "/usr/lib/netkitd-tests/kernel_check"
REJECT = "/usr/lib/netkitd-tests/reject.bpf.o"
PINS = "/sys/fs/bpf/kernel_check"
GROUP = 7700


def check(*args, ok=True):
    """Run kernel_check; its results, one JSON object a line."""
    r = subprocess.run([CHECK, *map(str, args)], capture_output=True, text=True)
    assert (r.returncode == 0) == ok, r.stdout + r.stderr
    return [json.loads(line) for line in r.stdout.splitlines()]


def ours():
    """The names and ifindexes of the devices in our group."""
    return {l["ifname"]: l["ifindex"] for l in ip("link", "show", "type", "netkit")
            if l.get("group") == str(GROUP) and l["linkinfo"]["info_data"]["type"] == "primary"}


def chains():
    """(device, hook) → program names, as bpftool tells them."""
    found = {}
    for entry in json.loads(run("bpftool", "-j", "net"))[0]["tc"]:
        if entry["kind"].startswith("netkit/"):
            found.setdefault((entry["devname"], entry["kind"]), []).append(entry["name"])
    return found


def pins():
    return sorted(os.listdir(f"{PINS}/links"))


def link_id(name):
    # bpftool looks the peer's ifindex up in the wrong namespace and then exits with 255; what it printed is right.
    return json.loads(run("bpftool", "-j", "link", "show", "pinned", f"{PINS}/links/{name}", check=False))["id"]


@pytest.fixture
def places():
    """Make the namespaces t0, t1, … and remove all traces of a test."""
    made = []

    def make(n):
        made.extend(f"t{i}" for i in range(n))
        run("ip", "-batch", "-", input="".join(f"netns add {name}\n" for name in made))

    yield make
    if ours():
        run("ip", "link", "del", "group", GROUP)
    run("ip", "-batch", "-", input="".join(f"netns del {name}\n" for name in made))
    if os.path.isdir(PINS):
        for d in ("links", "programs"):
            for name in os.listdir(f"{PINS}/{d}"):
                os.unlink(f"{PINS}/{d}/{name}")


@pytest.fixture
def watcher():
    """Starts the watcher; the returned function waits for an event that fits, and gives those up to it."""
    told = Lines(CHECK, "watch")
    assert told.next("the watcher to be ready") == "ready"

    def wait_for(**wanted):
        lines = told.until(lambda line: wanted.items() <= json.loads(line).items(), f"an event with {wanted}")
        return [json.loads(line) for line in lines]

    yield wait_for
    told.close()


def create(n, *more):
    return check("create", n, *more)[-1]


def test_creation(places):
    places(3)
    result = create(3)
    assert not result["failures"] and result["done"] == result["ops"]
    assert set(ours()) == {"t0", "t1", "t2"}
    for i in range(3):
        primary, peer = link(f"t{i}"), link("eth0", f"t{i}")
        assert "UP" in primary["flags"] and "UP" in peer["flags"]
        assert primary["ifalias"] == f"netkitd:t{i}"
        data = primary["linkinfo"]["info_data"]
        assert (data["mode"], data["policy"], data["peer_policy"]) == ("l3", "forward", "blackhole")
        assert chains()[f"t{i}", "netkit/primary"] == ["pod_ingress"]
        assert chains()[f"t{i}", "netkit/peer"] == ["pod_egress"]
        run("ping", "-c1", "-W5", f"10.77.0.{i}")
        run("ip", "netns", "exec", f"t{i}", "ping", "-c1", "-W5", "169.254.1.1")
    assert len(pins()) == 6
    # Both chains of each device came back with the result, by our names.
    assert sorted((c["hook"], c["links"][0]["name"]) for c in result["chains"]) == sorted(
        [("netkit/primary", "pod_ingress"), ("netkit/peer", "pod_egress")] * 3)
    assert {p["device"] for p in result["places"]} == {"t0", "t1", "t2"}


def test_a_failed_attachment_leaves_the_device_closed(places):
    places(2)
    result = create(2, -1, "missing")
    (failure,) = result["failures"]
    assert failure["device"] == "t1" and failure["op"] == "attach"
    assert "nobody" in failure["message"]
    assert "UP" in link("t0")["flags"]
    assert "UP" not in link("t1")["flags"]


def test_a_half_built_chain_is_not_opened(places):
    places(1)
    create(1)
    run("ip", "link", "set", "t0", "down")
    assert not check("open", 0)[-1]["failures"]
    run("ip", "link", "set", "t0", "down")
    run("bpftool", "link", "detach", "id", link_id("t0:primary:pod_ingress"))
    (failure,) = check("open", 0)[-1]["failures"]
    assert "pod_ingress" in failure["message"] and "netkit/primary" in failure["message"]
    assert "UP" not in link("t0")["flags"]


def test_a_cancelled_plan_opens_nothing_unguarded(places):
    places(30)
    # Not from the first millisecond on, and long before the end.
    result = create(30, 60)
    assert result["cancelled"] and result["done"] < result["ops"]
    guarded = chains()
    for name in ours():
        if "UP" in link(name)["flags"]:
            assert (name, "netkit/primary") in guarded and (name, "netkit/peer") in guarded


def test_a_missing_namespace_is_told(places):
    places(1)
    result = create(2)
    (failure,) = result["failures"]
    assert failure["device"] == "t1" and failure["netns_missing"] and failure["op"] == "create"
    assert set(ours()) == {"t0"}


def test_a_taken_name_is_told_and_kept(places):
    places(1)
    run("ip", "link", "add", "t0", "address", "02:00:00:00:00:01", "type", "dummy")
    try:
        before = link("t0")
        (failure,) = create(1)["failures"]
        assert failure["name_taken"] and failure["errno"] == 17
        assert link("t0") == before
    finally:
        run("ip", "link", "del", "t0")


def test_deletion_by_group(places):
    places(50)
    assert not create(50)["failures"]
    run("ip", "link", "add", "bystander", "type", "dummy")
    try:
        devices = [f"{name}={ifindex}" for name, ifindex in ours().items()]
        assert len(devices) == 50 and len(pins()) == 100
        result = check("delete", "group", *devices)[-1]
        assert not result["failures"]
        # In whichever group: they were put into another one, to be deleted there.
        assert ip("link", "show", "type", "netkit") == [] and pins() == []
        assert link("bystander")
    finally:
        run("ip", "link", "del", "bystander")


def test_a_foreign_device_with_the_ifindex_is_not_deleted(places):
    places(1)
    create(1)
    ifindex = ours()["t0"]
    run("ip", "link", "del", "t0")
    run("ip", "link", "add", "foreign", "index", ifindex, "type", "netkit", "peer", "name", "foreignp")
    try:
        (failure,) = check("delete", f"t0={ifindex}")[-1]["failures"]
        assert "foreign" in failure["message"]
        assert link("foreign")["ifindex"] == ifindex
    finally:
        run("ip", "link", "del", "foreign")


def test_deletion_of_what_is_gone(places):
    places(1)
    create(1)
    ifindex = ours()["t0"]
    run("ip", "link", "del", "t0")
    assert len(pins()) == 2
    assert not check("delete", f"t0={ifindex}")[-1]["failures"]
    assert pins() == []


def test_snapshot(places):
    places(3)
    create(3)
    result = check("snapshot", 3)[-1]
    assert result["error"] == 0 and result["messages"] > 0
    assert len(result["chains"]) == 6
    assert len({p["nsid"] for p in result["places"]}) == 3


def test_programs_are_adopted(places):
    places(1)
    first = {r["loaded"]: r["id"] for r in check("load", ACCT, "pod_egress") if "loaded" in r}
    assert check("load", ACCT, "pod_egress")[0]["id"] == first["pod_egress"]
    # Another file with the same program in it: its maps go on counting.
    with open(ACCT, "rb") as f, open("/tmp/same.bpf.o", "wb") as copy:
        copy.write(f.read() + b"\0")
    assert check("load", "/tmp/same.bpf.o", "pod_egress")[0]["id"] == first["pod_egress"]
    # Somebody else's program under our name is not taken for ours.
    run("bpftool", "prog", "load", ACCT, "/sys/fs/bpf/strange", "type", "classifier")
    os.unlink(f"{PINS}/programs/pod_egress")
    os.rename("/sys/fs/bpf/strange", f"{PINS}/programs/pod_egress")
    again = check("load", ACCT, "pod_egress")[0]
    assert json.loads(run("bpftool", "-j", "prog", "show", "pinned", f"{PINS}/programs/pod_egress"))["id"] == again["id"]


def test_bad_objects_are_explained(places, tmp_path):
    (tmp_path / "junk").write_text("not ELF at all")
    for path, name, words in ((tmp_path / "junk", "x", "object file"), (tmp_path / "none", "x", "cannot open"), (tmp_path, "x", "regular"),
                              (ACCT, "nobody", "pod_egress, pod_ingress")):
        (failure,) = check("load", path, name)[-1]["failures"]
        assert words in failure["message"], failure


def test_the_verifiers_log_comes_back_whole(places):
    (failure,) = check("load", REJECT, "reads_too_far")[-1]["failures"]
    message = failure["message"]
    # The first line, libbpf's frame around the log, what the kernel objects to, and the log's last line.
    assert message.startswith(REJECT)
    for words in ("BEGIN PROG LOAD LOG", "invalid access to packet", "processed", "END PROG LOAD LOG"):
        assert words in message, message
    assert not os.path.exists(f"{PINS}/programs/reads_too_far")


def test_a_link_is_not_attached_twice(places):
    places(1)
    create(1)
    before = link_id("t0:peer:pod_egress")
    result = check("attach", "t0", ours()["t0"], 1, "pod_egress")[-1]
    assert not result["failures"]
    assert result["chains"][0]["links"] == [dict(result["chains"][0]["links"][0], name="pod_egress", link=before)]


@pytest.mark.parametrize("how", ["detach", "rm"])
def test_a_lost_link_comes_back_once(places, how):
    places(1)
    create(1)
    if how == "detach":
        run("bpftool", "link", "detach", "id", link_id("t0:peer:pod_egress"))
    else:
        os.unlink(f"{PINS}/links/t0:peer:pod_egress")
        until(lambda: ("t0", "netkit/peer") not in chains(), "the kernel to let go of the link")
    assert ("t0", "netkit/peer") not in chains()
    result = check("attach", "t0", ours()["t0"], 1, "pod_egress")[-1]
    assert not result["failures"]
    assert chains()["t0", "netkit/peer"] == ["pod_egress"]
    assert pins() == ["t0:peer:pod_egress", "t0:primary:pod_ingress"]


def test_the_watcher_sees_who_took_a_program_away(places, watcher):
    places(2)
    create(2)
    held = link_id("t0:peer:pod_egress")
    p = subprocess.Popen(["bpftool", "link", "detach", "id", str(held)])
    p.wait()
    event = watcher(what="detached a link")[-1]
    assert (event["link"], event["pid"], event["comm"], event["uid"]) == (held, p.pid, "bpftool", 0)

    held = link_id("t1:peer:pod_egress")
    p = subprocess.Popen(["rm", f"{PINS}/links/t1:peer:pod_egress"])
    p.wait()
    event = watcher(what="removed a pin")[-1]
    assert (event["link"], event["pid"], event["comm"], event["uid"]) == (held, p.pid, "rm", 0)

    # Detaching what is detached, and a device that goes with its links, are no news: the next there is comes after them.
    run("bpftool", "link", "detach", "pinned", f"{PINS}/links/t0:peer:pod_egress")
    run("ip", "link", "del", "t1")
    os.unlink(f"{PINS}/links/t1:primary:pod_ingress")
    held = link_id("t0:primary:pod_ingress")
    run("bpftool", "link", "detach", "id", held)
    events = watcher(what="detached a link", link=held)
    assert events[:-1] == []


def test_the_watcher_sees_strangers_come(places, watcher):
    places(1)
    create(1)
    p = subprocess.Popen([CHECK, "attach", "t0", str(ours()["t0"]), "0", "pod_egress"], stdout=subprocess.DEVNULL)
    assert p.wait() == 0
    event = watcher(what="attached a link", pid=p.pid)[-1]
    assert event["ifindex"] == ours()["t0"] and event["comm"] == "netkitd-exec"
