# SPDX-License-Identifier: GPL-2.0-only
"""What bad input gets: a clear error that names the place, nothing changed, and the next client served."""
import json
import os
import socket
import subprocess
import threading

import pytest
from tools import Rpc, RpcError, SOCKET, journal, journal_now, link, main_pid, pair, program, run, until

PARSE, REQUEST, METHOD, PARAMS, LIMIT = -32700, -32600, -32601, -32602, 4


@pytest.fixture
def untouched(rpc, netns):
    """A device and the document stay exactly as they are, and a new client is served."""
    netns("web-1")
    rpc.converge([pair()])
    before = rpc.call("state.get"), link("web-1")
    yield rpc
    c = Rpc()
    assert (c.call("state.get"), link("web-1")) == before
    c.close()


def send_raw(data, close=False):
    """One line of anything; the reply."""
    c = Rpc()
    c.raw(data)
    if close:
        c.sock.shutdown(socket.SHUT_WR)
    try:
        return c.line()
    finally:
        c.close()


@pytest.mark.parametrize("text,code", [
    (b'{"jsonrpc":"2.0","id":1,"method":', PARSE),
    (b'{"jsonrpc":"2.0","id":1,"method":"state.get"', PARSE),
    (b'nonsense', PARSE),
    (b'\xff\xfe{}', PARSE),
    (b'{"jsonrpc":"2.0","id":1,"method":"\xc3\x28"}', PARSE),
    (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"state.get"}', PARSE),
    (b'[' * 100000 + b']' * 100000, LIMIT),
    (b'42', REQUEST),
    (b'"state.get"', REQUEST),
    (b'[]', REQUEST),
    (b'{"id":1,"method":"state.get"}', REQUEST),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', REQUEST),
    (b'{"jsonrpc":"2.0","id":1,"method":"state.get","extra":1}', REQUEST),
    (b'{"jsonrpc":"2.0","id":1,"method":"no.such"}', METHOD),
    (b'{"jsonrpc":"2.0","id":1,"method":"state.get","params":{"x":1}}', PARAMS),
    (b'{"jsonrpc":"2.0","id":1,"method":"device.get","params":{"name":5}}', PARAMS),
], ids=lambda v: v[:40].decode("latin1") if isinstance(v, bytes) else str(v))
def test_lines(untouched, text, code):
    reply = send_raw(text + b"\n")
    assert reply["error"]["code"] == code
    assert len(reply["error"]["message"]) > 10


def test_a_truncated_line(untouched):
    reply = send_raw(b'{"jsonrpc":"2.0","id":1,', close=True)
    assert "error" in reply


def test_an_oversized_line(untouched):
    c = Rpc()
    chunk = b"x" * (1 << 20)
    try:
        for _ in range(17):
            c.raw(chunk)
    except (BrokenPipeError, ConnectionResetError):
        pass
    reply = c.line()
    assert reply["error"]["code"] == 4 and "16" in reply["error"]["message"]
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            c.line()


def test_a_large_line_below_the_limit_is_served(untouched):
    reply = send_raw(b'{"jsonrpc":"2.0","id":1,"method":"device.get","params":{"name":"' + b"x" * (15 << 20) + b'"}}\n')
    assert reply["error"]["code"] == PARAMS


def device(**changes):
    d = pair("web-2", "web-1", "10.0.9.1", "10.0.9.2", peer={"name": "eth9"})
    for path, value in changes.items():
        at = d
        *parents, last = path.split("__")
        for p in parents:
            at = at[p]
        if value is None:
            del at[last]
        else:
            at[last] = value
    return d


@pytest.mark.parametrize("changes,code,pointer", [
    ({"polcy": "drop"}, PARAMS, "/polcy"),
    ({"mtu": "1500"}, PARAMS, "/mtu"),
    ({"mtu": 1500.5}, PARAMS, "/mtu"),
    ({"mtu": -1}, PARAMS, "/mtu"),
    ({"mtu": 2 ** 40}, PARAMS, "/mtu"),
    ({"mode": "l4"}, PARAMS, "/mode"),
    ({"policy": "maybe"}, PARAMS, "/policy"),
    ({"name": "a-name-much-too-long"}, PARAMS, "/name"),
    ({"name": ""}, PARAMS, "/name"),
    ({"name": "a/b"}, PARAMS, "/name"),
    ({"name": "."}, PARAMS, "/name"),
    ({"name": ".."}, PARAMS, "/name"),
    ({"name": "with space"}, PARAMS, "/name"),
    ({"name": None}, PARAMS, "/name"),
    ({"peer__name": "a/b"}, PARAMS, "/peer/name"),
    ({"addresses": ["10.0.0.256/32"]}, PARAMS, "/addresses/0"),
    ({"addresses": ["10.0.0.1/33"]}, PARAMS, "/addresses/0"),
    ({"addresses": ["10.0.0.1/32", "fd00::1/129"]}, PARAMS, "/addresses/1"),
    ({"addresses": "10.0.0.1/32"}, PARAMS, "/addresses"),
    ({"peer__addresses": ["nonsense"]}, PARAMS, "/peer/addresses/0"),
    ({"peer__routes": [{"to": "default", "via": "172.31.0.1"}]}, PARAMS, "/peer/routes/0/via"),
    ({"peer__routes": [{"to": "10.1.0.1/16"}]}, PARAMS, "/peer/routes/0/to"),
    ({"peer__routes": [{}]}, PARAMS, "/peer/routes/0"),
    ({"mac": "02:00:00:00:00:01"}, PARAMS, "/mac"),
    ({"mode": "l2", "mac": "01:00:00:00:00:01"}, PARAMS, "/mac"),
    ({"mode": "l2", "mac": "02:00:00:00:00"}, PARAMS, "/mac"),
    ({"peer__netns": "no-such"}, 2, "/peer/netns"),
    ({"peer__netns": "/etc/passwd"}, PARAMS, "/peer/netns"),
    ({"peer__netns": "/no/such"}, 2, "/peer/netns"),
    ({"peer__netns": "../etc"}, PARAMS, "/peer/netns"),
    ({"peer__netns": {"pid": 4194300}}, 2, "/peer/netns"),
    ({"peer__netns": {"fd": 0}}, PARAMS, "/peer/netns"),
    ({"peer__netns": {"pid": 1, "fd": 0}}, PARAMS, "/peer/netns"),
    ({"attachments": [{"name": "x", "hook": "netkit/peer", "program": "no-such"}]}, PARAMS, "/attachments/0/program"),
    ({"attachments": [{"name": "x", "hook": "tcx/ingress", "program": "p"}]}, PARAMS, "/attachments/0/hook"),
    ({"attachments": [{"name": "a:b", "hook": "netkit/peer", "program": "p"}]}, PARAMS, "/attachments/0/name"),
], ids=str)
def test_a_devices_members(untouched, changes, code, pointer):
    sent = device(**changes)
    for call, base in ((lambda: untouched.apply([sent]), "/document/devices/0"),
                       (lambda: untouched.call("device.set", {"device": sent}), "/device")):
        with pytest.raises(RpcError) as e:
            call()
        assert e.value.code == code, e.value
        assert any(p == f"{base}{pointer}" or (pointer == "/peer/routes/0" and p.startswith(f"{base}{pointer}"))
                   or (pointer == "/name" and p in (f"{base}/name", base))
                   or (pointer == "/peer/netns" and p.startswith(f"{base}/peer/netns"))
                   for p in e.value.pointers), e.value
    assert link("web-2") is None


def test_all_problems_are_told_at_once(untouched):
    with pytest.raises(RpcError) as e:
        untouched.apply([device(mtu=1, policy="x"), device(name="")])
    assert {"/document/devices/0/mtu", "/document/devices/0/policy", "/document/devices/1/name"} <= set(e.value.pointers)


def test_two_devices_of_one_name(untouched):
    with pytest.raises(RpcError) as e:
        untouched.apply([device(), device()])
    assert e.value.code == PARAMS


def test_two_peers_of_one_name_in_one_namespace(untouched):
    with pytest.raises(RpcError) as e:
        untouched.apply([device(peer__name="eth0")])
    assert e.value.code in (PARAMS, 1) and "/document/devices/0/peer/name" in e.value.pointers
    with pytest.raises(RpcError) as e:
        untouched.call("device.set", {"device": device(peer__name="eth0")})
    assert e.value.code in (PARAMS, 1) and "/device/peer/name" in e.value.pointers


@pytest.mark.parametrize("what,content", [("missing", None), ("not ELF", b"hello"), ("empty", b"")])
def test_program_objects(rpc, netns, tmp_path, what, content):
    """A program that can't be loaded is accepted and Degraded: the document says what should be, and the file may come."""
    netns("web-1")
    path = tmp_path / "x.bpf.o"
    if content is not None:
        path.write_bytes(content)
    result = rpc.apply([pair(attachments=[{"name": "x", "hook": "netkit/peer", "program": "x"}])],
                       [{"name": "x", "object": str(path), "program": "f"}])
    assert not result["converged"]
    conditions = {p["object"]: p["condition"] for p in result["pending"]}
    assert conditions["program/x"]["state"] == "Degraded" and str(path) in conditions["program/x"]["message"]
    assert conditions["device/web-1"]["state"] == "Degraded"
    assert link("web-1") is None or "UP" not in link("web-1")["flags"], "a device without its program is not opened"


def test_a_function_that_the_object_does_not_have(rpc):
    result = rpc.apply([], [program("x", "no_such_function")])
    assert not result["converged"]
    assert "no_such_function" in result["pending"][0]["condition"]["message"]


def test_a_stale_revision(untouched):
    revision = untouched.call("state.get")["revision"]
    with pytest.raises(RpcError) as e:
        untouched.apply([device()], expected_revision=revision - 1)
    assert e.value.code == 1 and e.value.pointers == ["/expected_revision"]


def test_a_device_that_is_not_there(untouched):
    for method in ("device.get", "device.delete"):
        with pytest.raises(RpcError) as e:
            untouched.call(method, {"name": "nobody"})
        assert e.value.code == 2 and e.value.pointers == ["/name"]


def test_ten_thousand_requests_in_one_write(rpc):
    """All are answered, in order; and another client's change comes in between, as the revisions in the answers show."""
    c = Rpc()
    n = 10000
    data = b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"daemon.status"}\n' % i for i in range(n))
    writer = threading.Thread(target=c.raw, args=(data,))
    writer.start()
    replies = [c.line()]
    other = Rpc()
    revision = other.call("state.apply", {"document": {"programs": [program("next1")]}})["revision"]
    replies += [c.line() for _ in range(n - 1)]
    writer.join()
    assert [r["id"] for r in replies] == list(range(n))
    seen = [r["result"]["revisions"]["desired"] for r in replies]
    assert seen[0] == revision - 1 and seen[-1] == revision, "another client is served in between"
    c.close()
    other.close()


def test_a_client_that_says_nothing_and_one_that_never_reads(untouched):
    silent = Rpc()
    deaf = Rpc()
    began = journal_now()
    deaf.sock.settimeout(1)
    line = b'{"jsonrpc":"2.0","id":1,"method":"device.list"}\n'
    sent = 0
    try:
        while sent < 64 << 20:
            sent += deaf.sock.send(line * 1000)
    except (TimeoutError, BrokenPipeError, ConnectionResetError):
        pass
    assert sent < 64 << 20, "the daemon stops reading from who does not read"
    c = Rpc()
    assert c.call("daemon.status")["health"] == "ok"
    rss = [int(l.split()[1]) for l in open(f"/proc/{run('systemctl', 'show', '-P', 'MainPID', 'netkitd').strip()}/status")
           if l.startswith("VmRSS")][0]
    assert rss < 64 << 10, f"{rss} KiB: unread replies are bounded"
    until(lambda: c.call("daemon.status")["counts"]["clients"] <= 3 and deaf_is_gone(deaf), "the deaf client to be dropped")
    told = until(lambda: [e["MESSAGE"] for e in journal("NETKITD_EVENT=client-dropped", after=began)], "the journal to tell of it")
    assert len(told) == 1 and f"(pid {os.getpid()}, uid 0)" in told[0], told
    silent.call("daemon.status")


def deaf_is_gone(deaf):
    try:
        deaf.sock.setblocking(False)
        while deaf.sock.recv(1 << 20):
            pass
        return True
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def as_user(code, *groups):
    """Run Python as a user without rights, with these supplementary groups."""
    cmd = ["setpriv", "--reuid=nobody", "--regid=nogroup", *([f"--groups={','.join(groups)}"] if groups else ["--clear-groups"]),
           "python3", "-c", code]
    return subprocess.run(cmd, capture_output=True, text=True)


CALL = """
import json, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect("/run/netkitd/netkitd.sock")
for m, p in (("daemon.status", None), ("device.delete", {"name": "web-1"})):
    s.sendall((json.dumps({"jsonrpc": "2.0", "id": 1, "method": m, **({"params": p} if p else {})}) + "\\n").encode())
    print(s.makefile().readline().strip())
"""


def test_clients_that_leave_their_requests_behind(reconfigured, netns):
    """What a connection may have pending is limited; it must not stay when the connection goes, since others can follow."""
    rpc = reconfigured({"retry_min_ms": 3600000, "retry_max_ms": 3600000})
    netns("web-1")
    run("ip", "route", "add", "198.51.100.0/24", "dev", "lo")
    try:
        # It waits since a route is refused, until that was tried again, hours later.
        rpc.call("device.set", {"device": pair(routes=[{"to": "10.0.0.2/32"}, {"to": "198.51.100.0/24"}])})
        until(lambda: rpc.call("device.get", {"name": "web-1"})["condition"]["state"] == "Degraded", "the refusal")
        wait = {"jsonrpc": "2.0", "id": 1, "method": "state.wait", "params": {"timeout_ms": 3600000}}
        pid, clients = main_pid(), rpc.call("daemon.status")["counts"]["clients"]

        def resident():
            return next(int(line.split()[1]) for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS"))

        def come_and_go():
            c = Rpc()
            c.raw(2047 * (json.dumps(wait).encode() + b"\n"))
            c.call("daemon.status")  # answered behind all of them, and none of them is
            c.close()
            until(lambda: rpc.call("daemon.status")["counts"]["clients"] == clients, "it to be gone")

        for _ in range(3):
            come_and_go()
        before = resident()
        for _ in range(20):
            come_and_go()
        assert resident() - before < 4096, f"KiB: {before} before, {resident()} afterwards"
        assert main_pid() == pid
    finally:
        run("ip", "route", "del", "198.51.100.0/24", "dev", "lo")


def test_who_may_do_what(untouched):
    nobody = as_user(CALL)
    assert nobody.returncode != 0 and "PermissionError" in nobody.stderr
    reader = as_user(CALL, "netkitd")
    assert reader.returncode == 0, reader.stderr
    status, denied = [json.loads(l) for l in reader.stdout.splitlines()]
    assert "result" in status
    assert denied["error"]["code"] == 3 and "uid 0" in denied["error"]["message"]
    st = os.stat(SOCKET)
    assert oct(st.st_mode & 0o777) == "0o660"


def test_too_many_descriptors(untouched):
    c = Rpc()
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]
    pid = main_pid()
    before = len(os.listdir(f"/proc/{pid}/fd"))
    try:
        socket.send_fds(c.sock, [b'{"jsonrpc":"2.0","id":1,"method":"daemon.status"}\n'], fds)
        reply = c.line()
        assert "error" in reply
    finally:
        for fd in fds:
            os.close(fd)
        c.close()
    until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before, "the descriptors to be closed")


def test_a_descriptor_that_is_no_namespace(untouched):
    fd = os.open("/dev/null", os.O_RDONLY)
    d = device(peer__netns={"fd": 0})
    with pytest.raises(RpcError) as e:
        untouched.call("state.apply", {"document": {"devices": [d]}}, [fd])
    os.close(fd)
    assert e.value.pointers and e.value.pointers[0].startswith("/document/devices/0/peer/netns")
