# SPDX-License-Identifier: GPL-2.0-only
"""Every misuse has its errno, the same with our driver and with the tree's own, and ours says why.

Where the two differ the test has both, with the reason. After a refusal nothing is left: no device, no program, no link.

Two errnos can't be reached from user space: ENOTCONN (a device is opened whose peer is gone) and ENODEV (hook peer, the peer gone). Both
ends of a pair are created and deleted under one hold of RTNL, under which all requests are carried out, so that none finds one end alone.
The driver checks all the same, and KUnit has the change of a policy of a peer that is gone.
"""
import contextlib
import os
import socket

import pytest

import nk
from nk import (HOOK_PEER, HOOK_PRIMARY, MODE, PEER_INFO, PEER_POLICY, PEER_SCRUB, POLICY, PRIMARY, SCRUB, attr, u8, u16, u32)

GOOD_MAC = b"\x02\0\0\0\0\1"
GROUP_MAC = b"\x03\0\0\0\0\1"


@contextlib.contextmanager
def refused(name, text=None):
    """The block must fail with that errno, and with our driver also with that text; and change no device."""
    before = socket.if_nameindex()
    with pytest.raises(nk.KernelError) as caught:
        yield
    assert caught.value.name == name, caught.value
    if text and nk.DRIVER:
        assert text in caught.value.text
    assert socket.if_nameindex() == before


@pytest.mark.parametrize("data, errno, text", [
    (attr(MODE, u32(2)), "EINVAL", "IFLA_NETKIT_MODE: must be 0 (L2) or 1 (L3)"),
    (attr(MODE, u32(-1)), "EINVAL", "IFLA_NETKIT_MODE"),
    (attr(POLICY, u32(1)), "EINVAL", "IFLA_NETKIT_POLICY: must be 0 (pass) or 2 (drop)"),
    (attr(POLICY, u32(nk.REDIRECT)), "EINVAL", "IFLA_NETKIT_POLICY"),
    (attr(POLICY, u32(nk.NEXT)), "EINVAL", "IFLA_NETKIT_POLICY"),
    (attr(PEER_POLICY, u32(3)), "EINVAL", "IFLA_NETKIT_PEER_POLICY"),
    (attr(PRIMARY, u8(1)), "EINVAL", "IFLA_NETKIT_PRIMARY"),
    (attr(SCRUB, u32(2)), "ERANGE", "IFLA_NETKIT_SCRUB: must be 0 (none) or 1 (default)"),
    (attr(PEER_SCRUB, u32(0xffff)), "ERANGE", "IFLA_NETKIT_PEER_SCRUB"),
    # Shorter than its type is refused by the core before any driver sees it.
    (attr(MODE, u16(0)), "ERANGE", ""),
    (attr(POLICY, b""), "ERANGE", ""),
    (attr(PEER_POLICY, u8(0)), "ERANGE", ""),
    (attr(SCRUB, u16(0)), "ERANGE", ""),
    (attr(PEER_SCRUB, u8(1)), "ERANGE", ""),
    (attr(PEER_SCRUB, b""), "ERANGE", ""),
    (attr(PEER_INFO, b""), "ERANGE", ""),
    (attr(PEER_INFO, nk.ifinfo()[:-1]), "ERANGE", ""),
    (attr(PEER_INFO, nk.ifinfo(index=-1)), "EINVAL", ""),
    (nk.peer_info("q0", attr(nk.IFLA_MTU, u16(1500))), "ERANGE", ""),
    (nk.peer_info("q0", attr(nk.IFLA_MTU, u32(10))), "EINVAL", ""),
    (nk.peer_info("q0", attr(nk.IFLA_NET_NS_FD, u32(9999))), "EBADF", "IFLA_NETKIT_PEER_INFO: names no network namespace"),
    (nk.peer_info("q0", attr(nk.IFLA_NET_NS_PID, u32(0x7ffffff))), "ESRCH", "IFLA_NETKIT_PEER_INFO"),
    (nk.peer_info("p0"), "EEXIST", ""),
    (nk.peer_info("lo"), "EEXIST", "IFLA_NETKIT_PEER_INFO: the peer's name is taken"),
    (nk.peer_info("a/b"), "EINVAL", "IFLA_NETKIT_PEER_INFO: not a name for a device"),
    (nk.peer_info("sixteen-letters-"), "ERANGE", ""),
])
def test_create(data, errno, text):
    with refused(errno, text):
        nk.create(data=data, peer=None)


def test_an_index_that_is_taken():
    nk.create()
    taken = nk.ifinfo(index=socket.if_nametoindex("q0")) + attr(nk.IFLA_IFNAME, "q1")
    with refused("EBUSY", "IFLA_NETKIT_PEER_INFO: the index is taken"):
        nk.request(nk.RTM_NEWLINK, nk.NLM_F_CREATE | nk.NLM_F_EXCL, nk.link_body(attr(PEER_INFO, taken), "p1", index=900))
    # The peer comes first, and here takes what is meant for the primary.
    same = nk.ifinfo(index=900) + attr(nk.IFLA_IFNAME, "q1")
    with refused("EBUSY", "ifi_index: the index is taken"):
        nk.request(nk.RTM_NEWLINK, nk.NLM_F_CREATE | nk.NLM_F_EXCL, nk.link_body(attr(PEER_INFO, same), "p1", index=900))


@pytest.mark.parametrize("mode, mac, errno, text", [
    (nk.L3, GOOD_MAC, "EOPNOTSUPP", "IFLA_ADDRESS: a device in L3 mode has no address"),
    (nk.L2, GOOD_MAC[:-1], "EINVAL", "IFLA_ADDRESS: must have 6 bytes"),
    (nk.L2, GOOD_MAC + b"\0", "EINVAL", "IFLA_ADDRESS"),
    (nk.L2, GROUP_MAC, "EADDRNOTAVAIL", "IFLA_ADDRESS: must be a unicast address"),
    (nk.L2, b"\0" * 6, "EADDRNOTAVAIL", "IFLA_ADDRESS"),
])
def test_address_at_creation(mode, mac, errno, text):
    with refused(errno, text):
        nk.create(data=attr(MODE, u32(mode)), more=attr(nk.IFLA_ADDRESS, mac))
    with refused(errno, text):
        nk.create(data=attr(MODE, u32(mode)), peer_more=attr(nk.IFLA_ADDRESS, mac))


def test_address_later():
    nk.create("p3", peer="q3")
    nk.create("p2", attr(MODE, u32(nk.L2)), peer="q2")
    for name in "p3", "q3":
        with refused("EOPNOTSUPP"):
            nk.request(nk.RTM_NEWLINK, 0, nk.ifinfo(socket.if_nametoindex(name)) + attr(nk.IFLA_ADDRESS, GOOD_MAC))
    for name in "p2", "q2":
        nk.request(nk.RTM_NEWLINK, 0, nk.ifinfo(socket.if_nametoindex(name)) + attr(nk.IFLA_ADDRESS, GOOD_MAC))
        assert nk.show(name)[0][nk.IFLA_ADDRESS] == GOOD_MAC


@pytest.mark.parametrize("data, errno, text", [
    (attr(MODE, u32(nk.L3)), "EACCES", "IFLA_NETKIT_MODE: fixed at creation"),
    (attr(SCRUB, u32(1)), "EACCES", "IFLA_NETKIT_SCRUB: fixed"),
    (attr(PEER_SCRUB, u32(1)), "EACCES", "IFLA_NETKIT_PEER_SCRUB: fixed"),
    (nk.peer_info("q1"), "EINVAL", "IFLA_NETKIT_PEER_INFO: can only be given at creation"),
    (attr(POLICY, u32(5)), "EINVAL", "IFLA_NETKIT_POLICY: must be"),
    (attr(PEER_POLICY, u32(5)), "EINVAL", "IFLA_NETKIT_PEER_POLICY: must be"),
    # What may not be given at all is no better for a wrong value, but where the range is a matter of the attribute's type.
    (attr(MODE, u32(9)), "EACCES", "IFLA_NETKIT_MODE: fixed at creation"),
    (attr(SCRUB, u32(9)), "ERANGE", "IFLA_NETKIT_SCRUB: must be"),
    (attr(PEER_SCRUB, u32(9)), "ERANGE", "IFLA_NETKIT_PEER_SCRUB: must be"),
    (attr(MODE, u32(9)) + attr(POLICY, u32(5)), "EACCES", "IFLA_NETKIT_MODE: fixed at creation"),
    (attr(PRIMARY, u8(0)), "EINVAL", "IFLA_NETKIT_PRIMARY"),
    # Of two values, one of which is refused, neither is taken.
    (attr(POLICY, u32(nk.DROP)) + attr(MODE, u32(nk.L3)), "EACCES", "IFLA_NETKIT_MODE"),
])
def test_change(data, errno, text):
    nk.create()
    before = nk.show("p0")[1], nk.show("q0")[1]
    with refused(errno, text):
        nk.change("p0", data)
    assert (nk.show("p0")[1], nk.show("q0")[1]) == before


def test_change_through_the_peer():
    nk.create()
    before = nk.show("p0")[1]
    # Also what would be wrong through the primary.
    for data in attr(POLICY, u32(nk.DROP)), attr(PEER_POLICY, u32(nk.DROP)), attr(MODE, u32(nk.L2)), attr(POLICY, u32(5)), \
            attr(PEER_POLICY, u32(5)), attr(MODE, u32(9)), nk.peer_info("q1"), b"":
        with refused("EACCES", "a peer can only be changed through its primary"):
            nk.change("q0", data)
    assert nk.show("p0")[1] == before


def test_a_repeated_attribute_counts_once():
    """rtnetlink takes the last, as for every kind of device."""
    nk.create(data=attr(MODE, u32(nk.L2)) + attr(MODE, u32(nk.L3)) + attr(POLICY, u32(nk.DROP)) + attr(POLICY, u32(nk.PASS)))
    assert nk.number(nk.show("p0")[1][MODE]) == nk.L3
    assert nk.number(nk.show("p0")[1][POLICY]) == nk.PASS


@pytest.mark.parametrize("kind, value", [(MODE, nk.L2), (POLICY, nk.DROP), (PEER_POLICY, nk.DROP), (SCRUB, 0), (PEER_SCRUB, 0)])
def test_what_is_behind_an_attributes_value_is_ignored(kind, value):
    """Longer than its type is no error to rtnetlink, for any kind of device: the value is what comes first."""
    nk.create(data=attr(kind, u32(value) + b"\xff" * 8))
    assert nk.number(nk.show("p0")[1][kind]) == value
    assert len(nk.show("p0")[1][kind]) == 4


def test_nesting():
    """Neither data that is no attributes, nor attributes nested too deep, makes a device other than a plain one."""
    with refused("ERANGE"):
        nk.create(data=attr(MODE, attr(1)[:2]), peer=None)
    nk.create(data=attr(40, u32(1)) + attr(41, attr(MODE, u32(9))))
    assert nk.number(nk.show("p0")[1][MODE]) == nk.L3


@pytest.fixture
def program(fds):
    return fds(nk.load(nk.returns(nk.NEXT)))


ATTACHERS = [nk.attach, nk.link, lambda fd, ifindex, hook=HOOK_PRIMARY: nk.detach(fd, ifindex, hook),
             lambda fd, ifindex, hook=HOOK_PRIMARY: nk.query(ifindex, hook)]


@pytest.mark.parametrize("how", ATTACHERS, ids=["attach", "link", "detach", "query"])
def test_bpf_target(how, program, container):
    ifindex = nk.create()
    nk.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    with refused("ENODEV"):
        how(program, 12345)
    with refused("ENODEV"):
        how(program, 12345, HOOK_PEER)
    with refused("ENXIO"):
        how(program, socket.if_nametoindex("v0"))
    with refused("ENXIO"):
        how(program, 1, HOOK_PEER)
    for hook in HOOK_PRIMARY, HOOK_PEER:
        with refused("EACCES"):
            how(program, socket.if_nametoindex("q0"), hook)
    # Another netns's device is no device.
    with container.entered(), refused("ENODEV"):
        how(program, ifindex)


def test_bpf_hook(program):
    ifindex = nk.create()
    with refused("EINVAL"):
        nk.attach(program, ifindex, 99)
    with refused("EINVAL"):
        nk.link(program, ifindex, 0)
    with refused("EINVAL"):
        nk.query(ifindex, 99)


@pytest.mark.parametrize("kind, hook, errno", [(nk.XDP, 37, "EINVAL"), (nk.SOCKET_FILTER, 0, "EINVAL")])
def test_bpf_program_type(kind, hook, errno, fds):
    ifindex = nk.create()
    wrong = fds(nk.load(nk.returns(0), hook, kind))
    for how in nk.attach, nk.link:
        with refused(errno):
            how(wrong, ifindex)
    assert nk.query(ifindex)[:2] == ([], [])
    # Nor does a link take one later.
    right = fds(nk.load(nk.returns(0)))
    made = fds(nk.link(right, ifindex))
    with refused(errno):
        nk.link_update(made, wrong)
    assert nk.query(ifindex)[0] == [nk.prog_id(right)]


def test_chain_flags(program, fds):
    """The order in which an attach is checked, and that a refusal leaves the chain and its revision alone."""
    ifindex = nk.create()
    other, third = fds(nk.load(nk.returns(nk.NEXT))), fds(nk.load(nk.returns(nk.NEXT)))
    nk.attach(program, ifindex)
    before = nk.query(ifindex)
    for errno, arguments in [
            ("ESTALE", {"revision": 9}),
            ("EBADF", {"flags": nk.BEFORE, "relative": 9999}),
            ("ENOENT", {"flags": nk.BEFORE | nk.ID, "relative": 1 << 30}),
            ("ENOENT", {"flags": nk.AFTER, "relative": third}),
            ("EINVAL", {"flags": nk.ID, "relative": nk.prog_id(program)}),
            ("EINVAL", {"flags": 1 << 10}),
            ("ENOENT", {"flags": nk.REPLACE, "replace": third}),
            ("EBADF", {"flags": nk.REPLACE, "replace": 9999}),
            ("ERANGE", {"flags": nk.BEFORE | nk.AFTER, "relative": program}),
    ]:
        with refused(errno):
            nk.attach(other, ifindex, **arguments)
        assert nk.query(ifindex) == before
    with refused("EEXIST"):
        nk.attach(program, ifindex)
    with refused("EEXIST"):
        nk.link(program, ifindex)
    # There is no descriptor in a link's request for what it would replace.
    with refused("ENOENT"):
        nk.link(other, ifindex, flags=nk.REPLACE)
    with refused("ENOENT"):
        nk.detach(other, ifindex)
    with refused("ESTALE"):
        nk.detach(program, ifindex, revision=7)
    assert nk.query(ifindex) == before
    nk.detach(program, ifindex)
    with refused("ENOENT"):
        nk.detach(program, ifindex)


def test_a_link_is_not_detached_by_descriptor(program, fds):
    ifindex = nk.create()
    fds(nk.link(program, ifindex))
    with refused("EBUSY"):
        nk.detach(program, ifindex)
    with refused("EBUSY"):
        nk.attach(fds(nk.load(nk.returns(0))), ifindex, flags=nk.REPLACE, replace=program)


@pytest.mark.parametrize("hook", [HOOK_PRIMARY, HOOK_PEER])
def test_the_chain_is_full(hook):
    """63 programs fit; the 64th gets ERANGE and leaves the chain as it was."""
    ifindex = nk.create()
    programs = [nk.load(nk.returns(nk.NEXT)) for _ in range(64)]
    for fd in programs[:63]:
        nk.attach(fd, ifindex, hook)
    before = nk.query(ifindex, hook)
    assert before[0] == [nk.prog_id(fd) for fd in programs[:63]]
    with refused("ERANGE"):
        nk.attach(programs[63], ifindex, hook)
    with refused("ERANGE"):
        nk.link(programs[63], ifindex, hook)
    assert nk.query(ifindex, hook) == before
    for fd in programs:
        os.close(fd)


def test_link_update(program, fds):
    ifindex = nk.create()
    second, third = fds(nk.load(nk.returns(0))), fds(nk.load(nk.returns(2)))
    made = fds(nk.link(program, ifindex))
    with refused("EPERM"):
        nk.link_update(made, second, nk.REPLACE, third)
    with refused("EINVAL"):
        nk.link_update(made, second, 0, third)
    with refused("EINVAL"):
        nk.link_update(made, second, 1 << 9)
    assert nk.query(ifindex)[0] == [nk.prog_id(program)]
    nk.link_update(made, second, nk.REPLACE, program)
    nk.link_update(made, second)
    assert nk.query(ifindex)[0] == [nk.prog_id(second)]
    nk.attach(third, ifindex)
    with refused("EEXIST"):
        nk.link_update(made, third)
    assert nk.link_info(made)["prog"] == nk.prog_id(second)


def test_the_revision_of_an_empty_chain(program):
    """Ours tells it, and an attach that expects it succeeds; the tree's own says 1, and such an attach fails."""
    ifindex = nk.create()
    assert nk.query(ifindex) == ([], [], 1)
    nk.attach(program, ifindex)
    nk.detach(program, ifindex)
    revision = nk.query(ifindex)[2]
    if nk.DRIVER:
        assert revision == 3
        nk.attach(program, ifindex, revision=revision)
    else:
        assert revision == 1
        with refused("ESTALE"):
            nk.attach(program, ifindex, revision=revision)


def test_without_rights():
    """Neither a device nor a chain is changed without CAP_NET_ADMIN."""
    ifindex = nk.create()
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            os.setuid(65534)
            for what in (lambda: nk.create("p9", peer="q9"), lambda: nk.change("p0", attr(POLICY, u32(2))),
                         lambda: nk.delete("p0"), lambda: nk.query(ifindex)):
                with refused("EPERM"):
                    what()
            status = 0
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
