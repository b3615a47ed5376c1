# SPDX-License-Identifier: GPL-2.0-only
"""What the driver's tests talk to the kernel with: raw rtnetlink, bpf(2), namespaces and packets.

Used by the test_*.py beside it, inside a lab machine. It asserts nothing by itself, and it hides nothing: attributes are
bytes, so that a test can send wrong ones, and an error is the kernel's errno with its extended-ACK text.
"""
import contextlib
import ctypes
import errno
import os
import socket
import struct
import subprocess
import time

# Which kernel this is. Where the two differ, a test says so.
DRIVER = os.environ.get("NETKIT_KERNEL", "driver") != "upstream"

PEER_INFO, PRIMARY, POLICY, PEER_POLICY, MODE, SCRUB, PEER_SCRUB, HEADROOM, TAILROOM, PAIRING = range(1, 11)
PASS, DROP, REDIRECT, NEXT = 0, 2, 7, -1
L2, L3 = 0, 1
HOOK_PRIMARY, HOOK_PEER, TCX_INGRESS = 54, 55, 46
BEFORE, AFTER, REPLACE, ID, LINK = 1 << 3, 1 << 4, 1 << 2, 1 << 5, 1 << 13

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_NET_NS_FD, IFLA_STATS64 = 1, 3, 4, 18, 28, 23
IFLA_NET_NS_PID, IFLA_GSO_MAX_SIZE, IFLA_OPERSTATE, IFLA_LINK = 19, 41, 16, 5
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 1, 4, 0x200, 0x400
IFF_UP = 1


class KernelError(OSError):
    """A refusal: errno, and what the kernel says about it, if anything."""

    def __init__(self, number, text="", offset=None):
        super().__init__(number, f"{os.strerror(number)}: {text}" if text else os.strerror(number))
        self.name = "EOPNOTSUPP" if number == errno.EOPNOTSUPP else errno.errorcode.get(number, str(number))
        self.text = text
        self.offset = offset


# rtnetlink

def attr(kind, value=b""):
    """One attribute. Nested ones are bytes that attr() made."""
    if isinstance(value, str):
        value = value.encode() + b"\0"
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def u8(value):
    return struct.pack("=B", value)


def u16(value):
    return struct.pack("=H", value)


def u32(value):
    return struct.pack("=I", value & 0xffffffff)


def attrs(data):
    """A dict of the attributes in data."""
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        found[kind & 0x3fff] = data[4:size]
        data = data[(size + 3) & ~3:]
    return found


def ifinfo(index=0, flags=0, change=0):
    return struct.pack("=BxHiII", 0, 0, index, flags, change)


def request(kind, flags, body):
    """Send one request, and return the body of the answer, without its ifinfomsg."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.setsockopt(270, 11, 1)  # SOL_NETLINK, NETLINK_EXT_ACK
        sock.setsockopt(270, 10, 1)  # NETLINK_CAP_ACK
        sock.settimeout(60)
        sock.send(struct.pack("=IHHII", 16 + len(body), kind, flags | NLM_F_REQUEST | NLM_F_ACK, 1, 0) + body)
        answer = b""
        while True:
            data = sock.recv(1 << 16)
            while data:
                size, got, got_flags = struct.unpack_from("=IHH", data)
                if got == 2:  # NLMSG_ERROR
                    result = struct.unpack_from("=i", data, 16)[0]
                    if not result:
                        return answer
                    # The request's header is quoted, without what followed it.
                    more = attrs(data[36:size]) if got_flags & 0x200 else {}
                    text = more.get(1, b"").rstrip(b"\0").decode()
                    offset = struct.unpack("=I", more[2])[0] if 2 in more else None
                    raise KernelError(-result, text, offset)
                answer = data[32:size]
                data = data[(size + 3) & ~3:]


def link_body(data, name=None, more=b"", kind="netkit", index=0, flags=0, change=0):
    """An ifinfomsg with IFLA_LINKINFO; data is what IFLA_INFO_DATA holds, None for no such attribute."""
    info = attr(1, kind) + (attr(2, data) if data is not None else b"")
    return ifinfo(index, flags, change) + (attr(IFLA_IFNAME, name) if name else b"") + more + attr(IFLA_LINKINFO, info)


def peer_info(name=None, more=b"", flags=0, change=0):
    return attr(PEER_INFO, ifinfo(0, flags, change) + (attr(IFLA_IFNAME, name) if name else b"") + more)


def create(name="p0", data=b"", peer="q0", more=b"", peer_more=b""):
    """Create a device; with peer None its PEER_INFO, if any, is in data."""
    if peer is not None:
        data = data + peer_info(peer, peer_more)
    request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, link_body(data, name, more))
    return socket.if_nametoindex(name)


def change(name, data, more=b""):
    request(RTM_NEWLINK, 0, link_body(data, index=socket.if_nametoindex(name), more=more))


def interfaces():
    """The names of those that a test made."""
    return [name for _, name in socket.if_nameindex() if name not in ("lo", "sit0")]


def delete(name):
    request(RTM_DELLINK, 0, ifinfo(socket.if_nametoindex(name)))


def show(name):
    """The attributes of a link, and those of IFLA_INFO_DATA."""
    link = attrs(request(RTM_GETLINK, 0, ifinfo(socket.if_nametoindex(name))))
    return link, attrs(attrs(link[IFLA_LINKINFO]).get(2, b"")) if IFLA_LINKINFO in link else {}


def number(data):
    return int.from_bytes(data, "little")


class Listener:
    """What rtnetlink tells everybody about the links of the current netns, from now on."""

    def __init__(self):
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self.sock.bind((0, 1))  # RTMGRP_LINK
        self.sock.settimeout(0.3)

    def messages(self, index):
        """(message type, attributes) of all that has been said about this link."""
        found = []
        with contextlib.suppress(TimeoutError):
            while True:
                data = self.sock.recv(1 << 16)
                while data:
                    size, kind = struct.unpack_from("=IH", data)
                    if struct.unpack_from("=i", data, 20)[0] == index:
                        found.append((kind, attrs(data[32:size])))
                    data = data[(size + 3) & ~3:]
        return found

    def close(self):
        self.sock.close()


def stats(name):
    """Packets and bytes received and sent, and what was dropped, as the core tells."""
    return link_stats(show(name)[0])


def link_stats(link):
    """The same, of a link's attributes."""
    values = struct.unpack_from("=8Q", link[IFLA_STATS64])
    return dict(zip(("rx", "tx", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped"), values))


def run(*command):
    """A command that has to succeed, and its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def up(*names):
    for name in names:
        request(RTM_NEWLINK, 0, ifinfo(socket.if_nametoindex(name), IFF_UP, IFF_UP))


def wait_until_running(name):
    """A carrier takes a moment to be noticed, and until then a device sends nothing."""
    for _ in range(500):
        if number(show(name)[0][IFLA_OPERSTATE]) == 6:
            return
        time.sleep(0.01)
    raise TimeoutError(f"{name} is not up")


def counters(name):
    """The driver's own counters."""
    lines = [line.split(":") for line in run("ethtool", "-S", name).splitlines()[1:]]
    return {key.strip(): int(value) for key, value in lines}


# Namespaces

class Netns:
    """A namespace without a name, known by its descriptor; the calling thread enters it for a while.

    IPv6 is off in it, so that only the packets that a test sends are seen and counted.
    """

    def __init__(self):
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        os.unshare(os.CLONE_NEWNET)
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for what in "all", "default":
            with open(f"/proc/sys/net/ipv6/conf/{what}/disable_ipv6", "w", encoding="ascii") as file:
                file.write("1")
        os.setns(before, os.CLONE_NEWNET)
        os.close(before)

    @contextlib.contextmanager
    def entered(self):
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        os.setns(self.fd, os.CLONE_NEWNET)
        try:
            yield self
        finally:
            os.setns(before, os.CLONE_NEWNET)
            os.close(before)

    def close(self):
        os.close(self.fd)


# bpf(2)

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, data, size=128):
    """The call; data is changed in place when it is a bytearray."""
    buffer = (ctypes.c_char * size).from_buffer(data if isinstance(data, bytearray) else bytearray(data.ljust(size, b"\0")))
    result = libc.syscall(321, command, buffer, size)
    if result < 0:
        raise KernelError(ctypes.get_errno())
    return result


def padded(*fields, form):
    return bytearray(struct.pack(form, *fields).ljust(128, b"\0"))


def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("=BBhi", code, dst | src << 4, off, imm)


def returns(verdict):
    """A program that does nothing but return."""
    return insn(0xb7, 0, imm=verdict) + insn(0x95)


def redirects(ifindex, helper=23, flags=0):
    """A program that returns what bpf_redirect(), or another helper of its form, returns."""
    return insn(0xb7, 1, imm=ifindex) + insn(0xb7, 2, imm=flags) + insn(0x85, imm=helper) + insn(0x95)


def calls(helper, *arguments):
    """A program that calls a helper with its packet and these numbers, and leaves the verdict to those that follow."""
    return (b"".join(insn(0xb7, 2 + i, imm=value) for i, value in enumerate(arguments)) + insn(0x85, imm=helper) +
            insn(0xb7, 0, imm=NEXT) + insn(0x95))


def passes_linear(size):
    """A program that passes a packet of which it sees size bytes from data to data_end, and drops every other."""
    return (insn(0x61, 2, 1, 76) + insn(0x61, 3, 1, 80) + insn(0x1f, 3, 2) + insn(0xb7, 0, imm=PASS) +
            insn(0x15, 3, off=1, imm=size) + insn(0xb7, 0, imm=DROP) + insn(0x95))


SCHED_CLS, XDP, SOCKET_FILTER = 3, 6, 1


def load(code, hook=HOOK_PRIMARY, kind=SCHED_CLS):
    code, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(4096)
    data = padded(kind, len(code) // 8, ctypes.addressof(code), ctypes.addressof(licence), 1, 4096, ctypes.addressof(log),
                  0, 0, b"", 0, hook, form="=IIQQIIQII16sII")
    return bpf(5, data)


def attach(fd, ifindex, hook=HOOK_PRIMARY, flags=0, replace=0, relative=0, revision=0):
    bpf(8, padded(ifindex, fd, hook, flags, replace, relative, revision, form="=IIIIIIQ"))


def detach(fd, ifindex, hook=HOOK_PRIMARY, flags=0, relative=0, revision=0):
    bpf(9, padded(ifindex, fd, hook, flags, 0, relative, revision, form="=IIIIIIQ"))


def link(fd, ifindex, hook=HOOK_PRIMARY, flags=0, relative=0, revision=0):
    return bpf(28, padded(fd, ifindex, hook, flags, relative, revision, form="=IIIIIxxxxQ"))


def link_update(fd, prog, flags=0, old=0):
    bpf(29, padded(fd, prog, flags, old, form="=IIII"))


def link_detach(fd):
    bpf(34, padded(fd, form="=I"))


def query(ifindex, hook=HOOK_PRIMARY):
    """The ids of the chain's programs and links, and its revision."""
    programs, links = (ctypes.c_uint32 * 64)(), (ctypes.c_uint32 * 64)()
    data = padded(ifindex, hook, 0, 0, ctypes.addressof(programs), 64, 0, 0, ctypes.addressof(links), 0, 0, form="=IIIIQIIQQQQ")
    bpf(16, data)
    count = struct.unpack_from("=I", data, 24)[0]
    return list(programs[:count]), list(links[:count]), struct.unpack_from("=Q", data, 56)[0]


def info(fd):
    """The first 256 bytes of what the kernel tells about a program or a link."""
    buffer = ctypes.create_string_buffer(256)
    bpf(15, padded(fd, 256, ctypes.addressof(buffer), form="=IIQ"))
    return buffer.raw


def prog_id(fd):
    return struct.unpack_from("=I", info(fd), 4)[0]


def link_info(fd):
    _, ident, prog = struct.unpack_from("=III", info(fd))
    ifindex, hook = struct.unpack_from("=II", info(fd), 16)
    return {"id": ident, "prog": prog, "ifindex": ifindex, "hook": hook}


def all_ids(command):
    """Every id there is: 11 is programs, 31 links."""
    found, last = [], 0
    while True:
        data = padded(last, form="=I")
        try:
            bpf(command, data)
        except KernelError as error:
            if error.name == "ENOENT":
                return found
            raise
        last = struct.unpack_from("=I", data, 4)[0]
        found.append(last)


# Packets

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


def udp(src, dst, payload=b"netkit!!", destination=b"\0" * 6, source=b"\0" * 6):
    """A frame with a UDP datagram from port 1000 to port 2000."""
    body = struct.pack("!HHHH", 1000, 2000, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, 17, 0, socket.inet_aton(src), socket.inet_aton(dst))
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return destination + source + b"\x08\x00" + head + body


def send(name, frame, mark=0, priority=0):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, priority)
        sock.bind((name, 0x0800))
        # A packet that the device drops is reported as a lack of room.
        with contextlib.suppress(OSError):
            sock.send(frame)


class Tap:
    """Every frame that passes an interface, in both directions."""

    def __init__(self, name):
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.bind((name, 3))
        self.sock.settimeout(0.3)

    def frames(self, count=None, sent=True):
        """(packet type, frame), until count have come or nothing has for a while; 0 is for us, 4 is sent."""
        found = []
        # Nothing comes any more after a time-out, or when the device goes down.
        with contextlib.suppress(OSError):
            while count is None or len(found) < count:
                frame, address = self.sock.recvfrom(1 << 16)
                if sent or address[2] != 4:
                    found.append((address[2], frame))
        return found

    def received(self, count=None):
        return [frame for _, frame in self.frames(count, sent=False)]

    def close(self):
        self.sock.close()
