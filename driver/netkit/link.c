// SPDX-License-Identifier: GPL-2.0-only
/*
 * netkit: BPF links.
 *
 * bpf(2) creates a link here and keeps it by its descriptors and pins; the
 * link holds its program, and the chain holds the link without a reference.
 *
 * May a device go while a link points to it? Yes, and the pointer goes first:
 * it is read and written under RTNL only, and netkit_link_orphan() clears it
 * under RTNL from ndo_uninit, before the core lets the device go. So no link
 * needs to hold a device, a pinned link doesn't keep a netns from being
 * deleted, and what is left is a link that says ifindex 0 and ENOLINK.
 *
 * Is a link leaked when its attach fails? No: up to bpf_link_prime() it is
 * ours to free. From then on it belongs to the primed file, and
 * bpf_link_cleanup() drops that: the last reference to the file releases the
 * link, which has no device yet and no program any more, and frees it.
 */
#include <linux/indirect_call_wrapper.h>
#include <linux/rtnetlink.h>
#include <net/netkit.h>

#include "netkit.h"

/**
 * struct netkit_link - a program's place in a chain
 * @link: what bpf(2) knows
 * @dev: the end whose chain it is in, NULL once it has been detached;
 *	under RTNL
 * @location: the hook, BPF_NETKIT_PRIMARY or BPF_NETKIT_PEER
 *
 * Tracing programs look at a link by these names, which are 6.12's.
 */
struct netkit_link {
	struct bpf_link link;
	struct net_device *dev;
	u32 location;
};

static struct netkit_link *netkit_link(const struct bpf_link *link)
{
	return container_of(link, struct netkit_link, link);
}

void netkit_link_orphan(struct bpf_link *link)
{
	ASSERT_RTNL();
	netkit_link(link)->dev = NULL;
}

static void netkit_link_release(struct bpf_link *link)
{
	struct netkit_link *nl = netkit_link(link);

	rtnl_lock();
	if (nl->dev) {
		WARN_ON_ONCE(netkit_chain_detach(nl->dev, link->prog, link,
						 0, 0, 0));
		nl->dev = NULL;
	}
	rtnl_unlock();
}

static int netkit_link_detach(struct bpf_link *link)
{
	netkit_link_release(link);
	return 0;
}

static void netkit_link_dealloc(struct bpf_link *link)
{
	kfree(netkit_link(link));
}

/* On success the link takes over the caller's reference to @prog. */
static int netkit_link_update(struct bpf_link *link, struct bpf_prog *prog,
			      struct bpf_prog *expected)
{
	struct netkit_link *nl = netkit_link(link);
	struct bpf_prog *old;
	int ret = 0;

	rtnl_lock();
	old = link->prog;
	if (!nl->dev) {
		ret = -ENOLINK;
	} else if (expected && expected != old) {
		ret = -EPERM;
	} else if (prog == old) {
		bpf_prog_put(prog);
	} else {
		ret = netkit_chain_attach(nl->dev, prog, link, old,
					  BPF_F_REPLACE | BPF_F_ID,
					  old->aux->id, 0);
		if (!ret) {
			xchg(&link->prog, prog);
			bpf_prog_put(old);
		}
	}
	rtnl_unlock();
	return ret;
}

static u32 netkit_link_ifindex(const struct bpf_link *link)
{
	const struct net_device *dev;
	u32 ifindex;

	rtnl_lock();
	dev = netkit_link(link)->dev;
	ifindex = dev ? dev->ifindex : 0;
	rtnl_unlock();

	return ifindex;
}

static void netkit_link_show_fdinfo(const struct bpf_link *link,
				    struct seq_file *seq)
{
	u32 hook = netkit_link(link)->location;

	seq_printf(seq, "ifindex:\t%u\n", netkit_link_ifindex(link));
	seq_printf(seq, "attach_type:\t%u (%s)\n", hook,
		   hook == BPF_NETKIT_PRIMARY ? "primary" : "peer");
}

static int netkit_link_fill_info(const struct bpf_link *link,
				 struct bpf_link_info *info)
{
	info->netkit.ifindex = netkit_link_ifindex(link);
	info->netkit.attach_type = netkit_link(link)->location;
	return 0;
}

static const struct bpf_link_ops netkit_link_ops = {
	.release	= netkit_link_release,
	.detach		= netkit_link_detach,
	.dealloc	= netkit_link_dealloc,
	.update_prog	= netkit_link_update,
	.show_fdinfo	= netkit_link_show_fdinfo,
	.fill_link_info	= netkit_link_fill_info,
};

static int netkit_link_create(const union bpf_attr *attr, struct bpf_prog *prog)
{
	struct bpf_link_primer primer;
	struct net_device *dev;
	struct netkit_link *nl;
	int ret;

	dev = netkit_hook_dev(current->nsproxy->net_ns,
			      attr->link_create.target_ifindex,
			      attr->link_create.attach_type);
	if (IS_ERR(dev))
		return PTR_ERR(dev);

	nl = kzalloc(sizeof(*nl), GFP_KERNEL_ACCOUNT);
	if (!nl)
		return -ENOMEM;

	bpf_link_init(&nl->link, BPF_LINK_TYPE_NETKIT, &netkit_link_ops, prog);
	nl->location = attr->link_create.attach_type;

	ret = bpf_link_prime(&nl->link, &primer);
	if (ret) {
		kfree(nl);
		return ret;
	}

	ret = netkit_chain_attach(dev, prog, &nl->link, NULL,
				  attr->link_create.flags,
				  attr->link_create.netkit.relative_fd,
				  attr->link_create.netkit.expected_revision);
	if (ret) {
		bpf_link_cleanup(&primer);
		return ret;
	}

	nl->dev = dev;
	return bpf_link_settle(&primer);
}

int netkit_link_attach(const union bpf_attr *attr, struct bpf_prog *prog)
{
	int ret;

	rtnl_lock();
	ret = netkit_link_create(attr, prog);
	rtnl_unlock();
	return ret;
}
