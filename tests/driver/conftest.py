# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the driver's tests: each test has the host's and the container's namespace to itself."""
import os

import pytest

import nk


@pytest.fixture(autouse=True)
def host():
    """A new netns that the test runs in."""
    netns = nk.Netns()
    with netns.entered():
        yield netns
    netns.close()


@pytest.fixture
def container():
    """A new netns beside it."""
    netns = nk.Netns()
    yield netns
    netns.close()


@pytest.fixture
def pair(container):
    """An L3 pair p0 and q0, q0 in the container with 10.0.0.2, p0 with 10.0.0.1; both up. Gives p0's ifindex."""
    ifindex = nk.create(peer_more=nk.attr(nk.IFLA_NET_NS_FD, nk.u32(container.fd)))
    nk.run("ip", "addr", "add", "10.0.0.1/24", "dev", "p0")
    nk.up("p0")
    with container.entered():
        nk.run("ip", "addr", "add", "10.0.0.2/24", "dev", "q0")
        nk.up("q0")
        nk.wait_until_running("q0")
    nk.wait_until_running("p0")
    return ifindex


@pytest.fixture
def fds():
    """Descriptors that are closed after the test."""
    kept = []

    def keep(fd):
        kept.append(fd)
        return fd

    yield keep
    for fd in kept:
        os.close(fd)

