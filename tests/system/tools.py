# SPDX-License-Identifier: GPL-2.0-only
"""What the system tests and the demo share. They run as root in the lab's machine with the project installed and systemd running,
speak to the daemon as any client would, and read back what it did with ip, bpftool and journalctl: never with our own code."""
import contextlib
import ctypes
import errno
import json
import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time

SOCKET = "/run/netkitd/netkitd.sock"
VERDICT = "/usr/lib/netkitd-tests/verdict.bpf.o"
ACCT = "/usr/lib/netkitd/bpf/acct.bpf.o"
DATABASE = "/var/lib/netkitd/netkitd.db"
PINS = "/sys/fs/bpf/netkitd"
PATIENCE = 240  # seconds: how long something may take that has to happen, on the slowest machine; no performance is meant


def run(*args, check=True, input=None):
    """Run a command; its standard output. A failure shows what it said."""
    r = subprocess.run([str(a) for a in args], capture_output=True, text=True, input=input)
    if check and r.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, args))}: exit {r.returncode}\n{r.stdout}{r.stderr}")
    return r.stdout


def ip(*args, ns=None):
    """`ip -j` in a namespace, decoded."""
    out = run("ip", *(["-n", ns] if ns else []), "-d", "-j", *args)
    return json.loads(out) if out.strip() else []


def link(name, ns=None):
    """The link as `ip -d -j link show` tells it, None if there is none."""
    r = subprocess.run(["ip", *(["-n", ns] if ns else []), "-d", "-j", "link", "show", "dev", name],
                       capture_output=True, text=True)
    return json.loads(r.stdout)[0] if r.returncode == 0 and r.stdout.strip() else None


def addresses(name, ns=None, ours=True):
    """Addresses as "a.b.c.d/n"; link-local ones of the kernel left out."""
    found = set()
    for entry in ip("addr", "show", "dev", name, ns=ns):
        for a in entry.get("addr_info", []):
            if a.get("local") and not (a.get("scope") == "link" and a["family"] == "inet6"):
                found.add(f"{a['local']}/{a['prefixlen']}")
    return found


def routes(name, ns=None):
    """Routes of the main table through a device, both families, that are not the kernel's own: (destination, gateway, metric)."""
    found = set()
    for family in ("-4", "-6"):
        out = run("ip", *(["-n", ns] if ns else []), family, "-d", "-j", "route", "show", "dev", name)
        for r in json.loads(out or "[]"):
            if r.get("protocol") != "kernel":
                found.add((r["dst"], r.get("gateway"), r.get("metric")))
    return found


def chain(name, hook):
    """Programs at a hook of a device or interface, as `bpftool net` shows them: in order, (prog id, link id)."""
    net = json.loads(run("bpftool", "-j", "net", "show", "dev", name))
    found = []
    for group in net:
        for p in group.get("tc", []):
            if p.get("kind") == hook and p.get("devname") == name:
                found.append((p.get("prog_id"), p.get("link_id", 0)))
    return found


def bpf_objects(kind):
    """All "prog", "link" or "map" of the kernel with their pins, as bpftool shows them. At a link that is being made it gives up (EAGAIN, the
    kernel's bpf_link_by_id): it is asked again."""
    def show():
        r = subprocess.run(["bpftool", "-j", "-f", kind, "show"], capture_output=True, text=True)
        if r.returncode and "temporarily unavailable" in r.stdout + r.stderr:
            return None
        assert r.returncode == 0, r.stdout + r.stderr
        return (json.loads(r.stdout),)
    return until(show, "a moment in which no link is being made")[0]


def until(what, why, timeout=PATIENCE):
    """Wait until what() is true; its value. `why` says what was waited for when it never came."""
    end = time.monotonic() + timeout
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {why}")
        time.sleep(0.05)


def shown(device="web-1"):
    """`netkitd-cli chain` as people get it: hook -> rows of columns; its exit status; all of it."""
    r = subprocess.run(["netkitd-cli", "chain", device], capture_output=True, text=True)
    hooks = {}
    for block in r.stdout.split("\n\n"):
        lines = [re.split("  +", line.strip()) for line in block.splitlines()]
        if len(lines) > 2:
            assert lines[1] == ["PLACE", "STATE", "NAME", "PROGRAM", "FUNCTION", "LINK", "ID", "TAG", "RUNS", "A RUN", "OWNER"]
            hooks[lines[0][0]] = lines[2:]
    return hooks, r.returncode, r.stdout


class Lines:
    """What a program prints, a line at a time: none is lost, and nobody waits for ever for one that does not come."""

    def __init__(self, *args, **more):
        self.p = subprocess.Popen([str(a) for a in args], stdout=subprocess.PIPE, text=True, **more)
        self.queue = queue.Queue()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.p.stdout:
            self.queue.put(line.rstrip("\n"))
        self.queue.put(None)

    def next(self, why):
        """The next line; `why` says what was waited for when none comes."""
        try:
            line = self.queue.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"not within {PATIENCE} s: {why}") from None
        assert line is not None, f"{self.p.args[0]} ended: {why}"
        return line

    def until(self, fits, why):
        """All lines up to the first that fits."""
        lines = []
        while not lines or not fits(lines[-1]):
            lines.append(self.next(why))
        return lines

    def close(self):
        self.p.kill()
        self.p.wait()
        self.reader.join()
        self.p.stdout.close()


def hears(monitor, name):
    """Does `ip monitor`, running as Lines, tell of a change of this device by now?"""
    run("ip", "link", "set", name, "mtu", link(name)["mtu"] - 1)
    return not monitor.queue.empty()


class RpcError(Exception):
    def __init__(self, error):
        super().__init__(json.dumps(error))
        self.code = error["code"]
        self.message = error["message"]
        self.data = error.get("data", {})
        self.pointers = [p["pointer"] for p in self.data.get("problems", [])]


class Rpc:
    """One connection."""

    def __init__(self, path=SOCKET):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(300)
        self.sock.connect(path)
        self.buffer = b""
        self.next_id = 0
        self.events = []

    def close(self):
        self.sock.close()

    def line(self):
        while b"\n" not in self.buffer:
            more = self.sock.recv(1 << 20)
            if not more:
                raise ConnectionResetError("the daemon closed the connection")
            self.buffer += more
        text, self.buffer = self.buffer.split(b"\n", 1)
        return json.loads(text)

    def raw(self, data, fds=()):
        if fds:
            socket.send_fds(self.sock, [data], list(fds))
        else:
            self.sock.sendall(data)

    def call(self, method, params=None, fds=()):
        self.next_id += 1
        request = {"jsonrpc": "2.0", "id": self.next_id, "method": method}
        if params is not None:
            request["params"] = params
        self.raw(json.dumps(request).encode() + b"\n", fds)
        while True:
            reply = self.line()
            if "id" not in reply:
                self.events.append(reply["params"])
                continue
            assert reply["id"] == self.next_id
            if "error" in reply:
                raise RpcError(reply["error"])
            return reply["result"]

    def apply(self, devices=(), programs=(), interfaces=(), mode="merge", wait=1000 * PATIENCE, **more):
        return self.call("state.apply", {"document": {"programs": list(programs), "devices": list(devices),
                                                      "interfaces": list(interfaces)}, "mode": mode, "wait_ms": wait, **more})

    def converge(self, devices=(), programs=(), interfaces=(), **more):
        """Apply, and insist that it took effect."""
        result = self.apply(devices, programs, interfaces, **more)
        assert result["converged"], result
        return result

    def next_event(self):
        if self.events:
            return self.events.pop(0)
        while True:
            message = self.line()
            if "method" in message:
                return message["params"]


def bpf(command, fields):
    """bpf(2) with 32-bit fields by their offsets. The result, or OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    attr = ctypes.create_string_buffer(128)
    for at, value in fields.items():
        size = 8 if isinstance(value, ctypes.Array) else 4
        attr[at:at + size] = (ctypes.addressof(value) if size == 8 else value).to_bytes(size, "little")
    r = libc.syscall(321, command, attr, 128)
    if r < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r


def attach_link(pin, device, hook):
    """Somebody else attaches a pinned program by a link, which lasts while anything keeps it: its descriptor and its id. hook: enum
    bpf_attach_type."""
    prog = bpf(7, {0: ctypes.create_string_buffer(pin.encode() + b"\0")})
    fd = bpf(28, {0: prog, 4: socket.if_nametoindex(device), 8: hook})
    os.close(prog)
    with open(f"/proc/self/fdinfo/{fd}") as info:
        return fd, next(int(line.split()[1]) for line in info if line.startswith("link_id"))


def foreign(rpc, device="web-1", owners=True):
    """The foreign attachments that have a link, by its id."""
    listed = rpc.call("attachment.list", {"device": device, "owners": owners})["attachments"]
    return {a["link_id"]: a for a in listed if a["foreign"] and "link_id" in a}


def main_pid():
    """The daemon's process, 0: there is none. Its control group says what `systemctl show` says, which takes systemd half a second."""
    group = "/sys/fs/cgroup/system.slice/netkitd.service/cgroup.procs"
    try:
        for pid in open(group).read().split():
            status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
            if (status["Name"], status["PPid"]) == ("netkitd", "1"):
                return int(pid)
    except OSError as e:
        # A process, or the group, that went or is just going.
        if e.errno not in (errno.ENOENT, errno.ESRCH, errno.ENODEV):
            raise
    return 0


def wait_for_netns(process):
    """Until a process that was started to run in another network namespace is in there."""
    until(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != os.readlink("/proc/self/ns/net"), "the process in its namespace")


@contextlib.contextmanager
def stopped(pid):
    """A process sees nothing of what happens meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def traced(*what, out="/dev/null"):
    """strace, once it is attached to the daemon: to its loop, and with -f to its other threads."""
    pid = main_pid()
    p = subprocess.Popen(["strace", *what, "-o", out, "-p", str(pid)], stderr=subprocess.DEVNULL)
    until(lambda: "TracerPid:\t0\n" not in open(f"/proc/{pid}/status").read(), "strace to be attached")
    return p


def journal_now():
    """Where the journal ends: what other tests left in it is before this."""
    return run("journalctl", "-n", "0", "--show-cursor", "--no-pager").split("-- cursor: ")[1].strip()


def journal(*matches, after=None):
    out = run("journalctl", "-o", "json", "--no-pager", "-u", "netkitd", *([f"--after-cursor={after}"] if after else []), *matches)
    return [json.loads(line) for line in out.splitlines() if line.strip()]


def wait_for_daemon(patience=PATIENCE):
    until(lambda: os.path.exists(SOCKET), "the socket", patience)
    rpc = Rpc()
    rpc.call("daemon.status")
    return rpc


def restart():
    """Kill the daemon; a connection to the next one."""
    before = main_pid()
    os.kill(before, 9)
    until(lambda: main_pid() not in (0, before), "another process")
    run("systemctl", "start", "netkitd")
    return wait_for_daemon()


def pair(name="web-1", ns="web-1", host="10.0.0.1", inside="10.0.0.2", **more):
    """A device as the README's example has it, with what `more` changes. peer= is merged."""
    peer = {"name": "eth0", "netns": ns, "addresses": [f"{inside}/32"], "routes": [{"to": f"{host}/32"},
            {"to": "default", "via": host}]}
    peer.update(more.pop("peer", {}))
    return {"name": name, "addresses": [f"{host}/32"], "routes": [{"to": f"{inside}/32"}], "peer": peer, **more}


def program(name, function=None, object=VERDICT):
    return {"name": name, "object": object, "program": function or name}


def ping(address, ns=None, count=1, wait=10):
    """Does it answer? Who expects that it does not says a shorter wait, in seconds."""
    cmd = [*(["ip", "netns", "exec", ns] if ns else []), "ping", "-n", "-q", "-c", str(count), "-W", str(wait), address]
    return subprocess.run(cmd, capture_output=True).returncode == 0
