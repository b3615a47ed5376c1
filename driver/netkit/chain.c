// SPDX-License-Identifier: GPL-2.0-only
/*
 * netkit: the chains of BPF programs.
 *
 * bpf(2) comes here to attach, detach and query by descriptor, and link.c for
 * links. Everything happens under RTNL; bpf_mprog decides about places and
 * flags. A chain has two arrays: the packet path reads one, a change is made
 * in the other, and once no reader of the first is left they change roles.
 */
#include <linux/indirect_call_wrapper.h>
#include <linux/rtnetlink.h>
#include <net/netkit.h>

#include "netkit.h"

/**
 * netkit_hook_dev - find the end whose chain a request is about
 * @net: the caller's netns
 * @ifindex: the primary, in @net
 * @hook: BPF_NETKIT_PRIMARY or BPF_NETKIT_PEER
 *
 * Return: the primary or its peer, or an ERR_PTR.
 */
struct net_device *netkit_hook_dev(struct net *net, u32 ifindex, u32 hook)
{
	const struct netkit_end *end;
	struct net_device *dev;

	ASSERT_RTNL();

	if (hook != BPF_NETKIT_PRIMARY && hook != BPF_NETKIT_PEER)
		return ERR_PTR(-EINVAL);

	dev = __dev_get_by_index(net, ifindex);
	if (!dev)
		return ERR_PTR(-ENODEV);
	if (!netkit_is(dev))
		return ERR_PTR(-ENXIO);

	end = netkit_end(dev);
	if (!end->primary)
		return ERR_PTR(-EACCES);
	if (hook == BPF_NETKIT_PRIMARY)
		return dev;
	if (end->single)
		return ERR_PTR(-ENODEV);

	return rtnl_dereference(end->peer) ?: ERR_PTR(-ENODEV);
}

/*
 * An empty chain is published as NULL, and its array is always the first one:
 * each attach and each detach changes arrays, and to become empty again takes
 * as many of the ones as of the others.
 */
static struct bpf_mprog_entry *netkit_chain(struct netkit_end *end)
{
	return rtnl_dereference(end->chain) ?: &end->bundle.a;
}

static void netkit_publish(struct netkit_end *end,
			   struct bpf_mprog_entry *chain)
{
	rcu_assign_pointer(end->chain, bpf_mprog_total(chain) ? chain : NULL);
	/* The old array is written again by the next change. */
	synchronize_net();
}

int netkit_chain_attach(struct net_device *dev, struct bpf_prog *prog,
			struct bpf_link *link, struct bpf_prog *replace,
			u32 flags, u32 relative, u64 revision)
{
	struct netkit_end *end = netkit_end(dev);
	struct bpf_mprog_entry *chain, *changed;
	int ret;

	chain = netkit_chain(end);
	ret = bpf_mprog_attach(chain, &changed, prog, link, replace, flags,
			       relative, revision);
	if (ret)
		return ret;

	/* A replacement is made in place. */
	if (changed != chain)
		netkit_publish(end, changed);
	bpf_mprog_commit(chain);
	return 0;
}

int netkit_chain_detach(struct net_device *dev, struct bpf_prog *prog,
			struct bpf_link *link, u32 flags, u32 relative,
			u64 revision)
{
	struct netkit_end *end = netkit_end(dev);
	struct bpf_mprog_entry *chain, *changed;
	int ret;

	chain = rtnl_dereference(end->chain);
	if (!chain)
		return -ENOENT;

	ret = bpf_mprog_detach(chain, &changed, prog, link, flags, relative,
			       revision);
	if (ret)
		return ret;

	netkit_publish(end, changed);
	bpf_mprog_commit(chain);
	return 0;
}

/*
 * The device goes: programs attached by descriptor go with it, and links stay
 * behind without a device. The core has closed the device and waited for RCU,
 * so no packet is in the chain.
 */
void netkit_chain_release(struct net_device *dev)
{
	struct netkit_end *end = netkit_end(dev);
	struct bpf_mprog_entry *chain = rtnl_dereference(end->chain);
	struct bpf_tuple tuple = {};
	struct bpf_mprog_fp *fp;
	struct bpf_mprog_cp *cp;

	if (!chain)
		return;

	RCU_INIT_POINTER(end->chain, NULL);
	bpf_mprog_foreach_tuple(chain, fp, cp, tuple) {
		if (tuple.link)
			netkit_link_orphan(tuple.link);
		else
			bpf_prog_put(tuple.prog);
	}
}

int netkit_prog_attach(const union bpf_attr *attr, struct bpf_prog *prog)
{
	struct bpf_prog *replace = NULL;
	struct net_device *dev;
	int ret;

	rtnl_lock();
	dev = netkit_hook_dev(current->nsproxy->net_ns, attr->target_ifindex,
			      attr->attach_type);
	if (IS_ERR(dev)) {
		ret = PTR_ERR(dev);
		goto unlock;
	}

	if (attr->attach_flags & BPF_F_REPLACE) {
		replace = bpf_prog_get_type(attr->replace_bpf_fd, prog->type);
		if (IS_ERR(replace)) {
			ret = PTR_ERR(replace);
			goto unlock;
		}
	}

	ret = netkit_chain_attach(dev, prog, NULL, replace, attr->attach_flags,
				  attr->relative_fd, attr->expected_revision);
	if (replace)
		bpf_prog_put(replace);
unlock:
	rtnl_unlock();
	return ret;
}

int netkit_prog_detach(const union bpf_attr *attr, struct bpf_prog *prog)
{
	struct net_device *dev;
	int ret;

	rtnl_lock();
	dev = netkit_hook_dev(current->nsproxy->net_ns, attr->target_ifindex,
			      attr->attach_type);
	if (IS_ERR(dev))
		ret = PTR_ERR(dev);
	else
		ret = netkit_chain_detach(dev, prog, NULL, attr->attach_flags,
					  attr->relative_fd,
					  attr->expected_revision);
	rtnl_unlock();
	return ret;
}

int netkit_prog_query(const union bpf_attr *attr, union bpf_attr __user *uattr)
{
	struct net_device *dev;
	int ret;

	rtnl_lock();
	dev = netkit_hook_dev(current->nsproxy->net_ns,
			      attr->query.target_ifindex,
			      attr->query.attach_type);
	if (IS_ERR(dev))
		ret = PTR_ERR(dev);
	else
		/* An empty chain too tells its revision, so that the next
		 * attach can expect it.
		 */
		ret = bpf_mprog_query(attr, uattr,
				      netkit_chain(netkit_end(dev)));
	rtnl_unlock();
	return ret;
}
