# SPDX-License-Identifier: GPL-2.0-only
"""Devices and links, and the two questions of the driver's first review: what is left when one of them goes first."""
import os
import socket
import time

import pytest

import nk
from nk import HOOK_PEER, HOOK_PRIMARY


def eventually(condition):
    """What is freed is freed by a worker, a moment later."""
    for _ in range(100):
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("hook", [HOOK_PRIMARY, HOOK_PEER])
@pytest.mark.parametrize("end", ["p0", "q0"])
def test_a_device_goes_while_a_link_points_to_it(hook, end, fds):
    """Question one: yes, it may, through either end. The link stays, without a device, and does no harm."""
    program, other = fds(nk.load(nk.returns(nk.PASS))), fds(nk.load(nk.returns(nk.DROP)))
    ifindex = nk.create()
    made = fds(nk.link(program, ifindex, hook))
    assert nk.link_info(made)["ifindex"] == socket.if_nametoindex("p0" if hook == HOOK_PRIMARY else "q0")

    nk.delete(end)
    assert nk.link_info(made)["ifindex"] == 0
    assert nk.link_info(made)["hook"] == hook
    with open(f"/proc/self/fdinfo/{made}", encoding="ascii") as fdinfo:
        assert "ifindex:\t0\n" in fdinfo.read()
    with pytest.raises(nk.KernelError) as caught:
        nk.link_update(made, other)
    assert caught.value.name == "ENOLINK"
    nk.link_detach(made)
    # A new device of that name has nothing to do with it.
    assert nk.query(nk.create(), hook)[:2] == ([], [])


def test_operations_on_a_device_that_is_being_deleted(fds):
    """While another process deletes it, each operation either succeeds or says that there is no such device; nothing is left."""
    links, program = nk.all_ids(31), fds(nk.load(nk.returns(nk.NEXT)))
    others = [fds(nk.load(nk.returns(nk.NEXT))) for _ in range(4)]

    def operations(ifindex):
        for hook in HOOK_PRIMARY, HOOK_PEER:
            yield lambda: os.close(nk.link(program, ifindex, hook))
            yield lambda: nk.query(ifindex, hook)
            yield lambda: nk.attach(others.pop(), ifindex, hook)
        yield lambda: nk.request(nk.RTM_NEWLINK, 0, nk.link_body(nk.attr(nk.POLICY, nk.u32(nk.DROP)), index=ifindex))
        yield lambda: nk.request(nk.RTM_GETLINK, 0, nk.ifinfo(ifindex))

    for turn in range(20):
        ifindex = nk.create()
        child = os.fork()
        if not child:
            time.sleep(turn / 2000)
            nk.delete("p0" if turn % 2 else "q0")
            os._exit(0)
        refused = 0
        while not refused:
            kept = list(others)
            for operation in operations(ifindex):
                try:
                    operation()
                except nk.KernelError as error:
                    # A program is in a chain once only.
                    if error.name != "EEXIST":
                        assert error.name == "ENODEV"
                        refused += 1
            others = kept
        assert os.waitpid(child, 0)[1] == 0
        assert not nk.interfaces()
    assert eventually(lambda: set(nk.all_ids(31)) <= set(links))


def test_a_pinned_link_outlives_its_device_and_keeps_no_netns(container):
    path = f"/sys/fs/bpf/nk-test-{os.getpid()}"
    program = nk.load(nk.returns(nk.PASS))
    with container.entered():
        made = nk.link(program, nk.create())
        name = (path + "\0").encode()
        nk.bpf(6, nk.padded(_address(name), made, form="=QI"))
        ident = nk.link_info(made)["id"]
    try:
        os.close(made)
        os.close(program)
        # The container's namespace is the last user of the device.
        os.close(os.dup(container.fd))
        os.close(container.fd)
        found = nk.bpf(7, nk.padded(_address(name), 0, form="=QI"))
        assert eventually(lambda: nk.link_info(found)["ifindex"] == 0)
        os.close(found)
        assert ident in nk.all_ids(31)
    finally:
        os.unlink(path)
        container.fd = os.open("/dev/null", os.O_RDONLY)
    assert eventually(lambda: ident not in nk.all_ids(31))


def _address(data):
    import ctypes
    _address.kept = ctypes.create_string_buffer(data)
    return ctypes.addressof(_address.kept)


def test_a_failed_attach_leaks_neither_link_nor_program(fds):
    """Question two: no. However often an attach fails, no link is left, and the program goes with its descriptor."""
    ifindex = nk.create()
    links, programs = nk.all_ids(31), nk.all_ids(11)
    program = nk.load(nk.returns(nk.PASS))
    nk.attach(fds(nk.load(nk.returns(nk.NEXT))), ifindex)
    kept = set(nk.all_ids(11)) - set(programs) - {nk.prog_id(program)}
    for _ in range(200):
        for arguments in {"revision": 77}, {"flags": nk.REPLACE}, {"flags": nk.AFTER, "relative": program}:
            with pytest.raises(nk.KernelError):
                nk.link(program, ifindex, **arguments)
    os.close(program)
    assert eventually(lambda: set(nk.all_ids(11)) - set(programs) == kept)
    assert set(nk.all_ids(31)) <= set(links)


@pytest.mark.parametrize("hook", [HOOK_PRIMARY, HOOK_PEER])
def test_programs_go_with_their_device(hook):
    before = nk.all_ids(11)
    ifindex = nk.create()
    for _ in range(5):
        program = nk.load(nk.returns(nk.NEXT))
        nk.attach(program, ifindex, hook)
        os.close(program)
    assert len(nk.query(ifindex, hook)[0]) == 5
    nk.delete("q0")
    assert eventually(lambda: set(nk.all_ids(11)) <= set(before))


def test_a_link_goes_with_its_last_descriptor():
    ifindex = nk.create()
    program = nk.load(nk.returns(nk.PASS))
    made = nk.link(program, ifindex)
    os.close(program)
    assert len(nk.query(ifindex)[1]) == 1
    os.close(made)
    assert eventually(lambda: nk.query(ifindex)[:2] == ([], []))


def test_a_detached_link_stays_detached(fds):
    ifindex = nk.create()
    program = fds(nk.load(nk.returns(nk.PASS)))
    made = fds(nk.link(program, ifindex, HOOK_PEER))
    nk.link_detach(made)
    nk.link_detach(made)
    assert nk.query(ifindex, HOOK_PEER)[:2] == ([], [])
    assert nk.link_info(made)["ifindex"] == 0


def test_a_chain_keeps_its_order_through_changes(fds):
    """Both arrays of a chain are used in turn, so change it often, from both ends, to empty and back."""
    ifindex = nk.create()
    programs = [fds(nk.load(nk.returns(nk.NEXT))) for _ in range(6)]
    expected = []
    for turn in range(60):
        fd = programs[(turn * 5) % 6]
        if fd in expected:
            nk.detach(fd, ifindex)
            expected.remove(fd)
        elif turn % 2:
            nk.attach(fd, ifindex, flags=nk.BEFORE)
            expected.insert(0, fd)
        else:
            nk.attach(fd, ifindex)
            expected.append(fd)
        if turn % 20 == 19:
            for fd in list(expected):
                nk.detach(fd, ifindex)
            expected = []
        assert nk.query(ifindex)[0] == [nk.prog_id(fd) for fd in expected]
