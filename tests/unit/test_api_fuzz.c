// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random documents survive encoding and decoding, and broken ones never break the decoder. The seed is fixed; NK_SEED=N in the
 * environment takes another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "api/contract.h"
#include "api/json.h"

#define ROUND_TRIPS 20000
#define MUTATIONS 200000
#define MUTATIONS_PER_DOCUMENT 50

static uint64_t rng;

static uint32_t rnd(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)((rng >> 16) % n);
}

static bool coin(void)
{
	return rnd(2);
}

static void random_name(char *to, size_t size)
{
	static const char letters[] = "abcXYZ019_.-";
	size_t len = 1 + rnd((uint32_t)size - 1);

	to[0] = "abcdefgh"[rnd(8)];
	for (size_t i = 1; i < len; i++)
		to[i] = letters[rnd(sizeof(letters) - 1)];
	to[len] = '\0';
}

static struct nk_ip random_ip(uint8_t len)
{
	struct nk_ip ip = {.len = len};

	for (uint8_t i = 0; i < len; i++)
		ip.b[i] = (uint8_t)rnd(256);
	ip.b[0] = len == 4 ? (uint8_t)(1 + rnd(200)) : (uint8_t)(0x20 + rnd(16));
	return ip;
}

static void random_end(struct nk_end *e, enum nk_mode mode)
{
	uint32_t n = rnd(4);

	random_name(e->name, sizeof(e->name));
	e->policy = (uint8_t)rnd(2);
	e->scrub = (uint8_t)rnd(2);
	e->set = rnd(0x80) & ~(mode == NK_MODE_L2 ? 0u : NK_SET_MAC);
	if (e->set & NK_SET_MTU)
		e->mtu = 1280 + rnd(65535 - 1279);
	if (e->set & NK_SET_MAC)
		for (int i = 0; i < 6; i++)
			e->mac[i] = (uint8_t)(i ? rnd(256) : 2);
	e->txqlen = e->set & NK_SET_TXQLEN ? rnd(UINT32_MAX) : 0;
	e->gso_max = e->set & NK_SET_GSO_MAX ? 1 + rnd(524280) : 0;
	e->gro_max = e->set & NK_SET_GRO_MAX ? 1 + rnd(524280) : 0;
	e->gso_ipv4_max = e->set & NK_SET_GSO_IPV4_MAX ? 1 + rnd(524280) : 0;
	e->gro_ipv4_max = e->set & NK_SET_GRO_IPV4_MAX ? 1 + rnd(524280) : 0;

	e->addrs = calloc(n + 1, sizeof(*e->addrs));
	for (uint32_t i = 0; i < n; i++) {
		uint8_t len = coin() ? 4 : 16;

		e->addrs[e->n_addrs++] = (struct nk_prefix){random_ip(len), (uint8_t)(1 + rnd(len * 8))};
	}
	n = rnd(4);
	e->routes = calloc(n + 1, sizeof(*e->routes));
	for (uint32_t i = 0; i < n; i++) {
		struct nk_route *r = &e->routes[e->n_routes++];
		uint8_t len = coin() ? 4 : 16;
		unsigned bytes = rnd(len + 1u);

		r->to = (struct nk_prefix){{.len = len}, (uint8_t)(bytes * 8)};
		for (unsigned b = 0; b < bytes; b++)
			r->to.ip.b[b] = (uint8_t)(1 + rnd(100));
		/* Different metrics: no two routes have one key. */
		r->metric = coin() ? i * 7 + 1 : 0;
		if (r->metric == 0 && i)
			r->metric = 5000 + i;
		if (coin()) {
			r->via = random_ip(len);
			r->onlink = true;
		}
		for (uint32_t a = 0; a < e->n_addrs; a++)
			if (e->addrs[a].ip.len == len && rnd(3) == 0)
				r->src = e->addrs[a].ip;
	}
}

static void random_netns(struct nk_netns *ns)
{
	static const char boot[] = "01234567-89ab-cdef-0123-456789abcdef";

	ns->kind = (enum nk_netns_kind)rnd(6);
	switch (ns->kind) {
	case NK_NETNS_HOST:
		break;
	case NK_NETNS_NAME:
		ns->path = strdup(coin() ? "pod é" : "...");
		break;
	case NK_NETNS_PATH:
		ns->path = strdup(coin() ? "/" : "/proc/\"\\7/ns/net");
		break;
	case NK_NETNS_PID:
		ns->number = 1 + rnd(4194304);
		if (coin()) {
			ns->start = 1 + rnd(UINT32_MAX);
			strcpy(ns->boot_id, boot);
		}
		break;
	case NK_NETNS_FD:
		ns->number = rnd(253);
		break;
	case NK_NETNS_ID:
		ns->number = UINT64_MAX - rnd(3);
		ns->start = rnd(2) * 4026531840u;
		strcpy(ns->boot_id, boot);
		break;
	}
}

/* One of each kind at most; the name of an earlier attachment, so that there is an order. */
static void random_anchors(const struct nk_device *d, uint32_t i, struct nk_anchor **list, uint32_t *n)
{
	*list = calloc(NK_ANCHOR_PIN + 1, sizeof(**list));
	assert_non_null(*list);
	for (int kind = NK_ANCHOR_NAME; kind <= NK_ANCHOR_PIN; kind++) {
		struct nk_anchor a = { .kind = (uint8_t)kind };
		const struct nk_attachment *other = i ? &d->attachments[rnd(i)] : NULL;

		if (coin())
			continue;
		switch ((enum nk_anchor_kind)kind) {
		case NK_ANCHOR_NAME:
			if (!other || other->hook != d->attachments[i].hook || other->first || other->last || d->attachments[i].first)
				continue;
			a.text = strdup(other->name);
			break;
		case NK_ANCHOR_ID:
			a.id = 1 + rnd(UINT32_MAX - 1);
			break;
		case NK_ANCHOR_TAG:
			for (size_t k = 0; k < sizeof(a.tag); k++)
				a.tag[k] = (uint8_t)rnd(256);
			break;
		case NK_ANCHOR_PIN:
			a.text = strdup("/sys/fs/bpf/x");
			break;
		}
		(*list)[(*n)++] = a;
	}
}

static struct nk_device *random_device(void)
{
	struct nk_device *d = nk_device_new();
	struct nk_end *primary = &d->end[NK_PRIMARY], *peer = &d->end[NK_PEER];
	uint32_t n = rnd(4);

	d->mode = (uint8_t)rnd(2);
	d->single = rnd(8) == 0;
	d->on_drift = (uint8_t)rnd(2);
	d->has_headroom = coin();
	d->headroom = d->has_headroom ? (uint16_t)rnd(65536) : 0;
	d->has_tailroom = coin();
	d->tailroom = d->has_tailroom ? (uint16_t)rnd(65536) : 0;
	random_end(primary, d->mode);
	if (!d->single) {
		random_end(peer, d->mode);
		random_netns(&d->netns);
		/* A document can't say otherwise. */
		if ((primary->set & NK_SET_MTU) && !(peer->set & NK_SET_MTU)) {
			peer->set |= NK_SET_MTU;
			peer->mtu = primary->mtu;
		}
	}
	d->attachments = calloc(n + 1, sizeof(*d->attachments));
	for (uint32_t i = 0; i < n; i++) {
		struct nk_attachment *a = &d->attachments[d->n_attachments++];

		snprintf(a->name, sizeof(a->name), "a%u", i);
		snprintf(a->program, sizeof(a->program), "p%u", i);
		a->hook = d->single ? NK_HOOK_NETKIT_PRIMARY : (uint8_t)rnd(2);
		a->required = !d->on_drift && coin(); /* together they are refused */
		a->first = rnd(8) == 0;
		a->last = !a->first && rnd(8) == 0;
		a->priority = rnd(4) ? 0 : (int32_t)rnd(UINT32_MAX);
		if (rnd(3) == 0)
			random_anchors(d, i, a->last ? &a->after : &a->before, a->last ? &a->n_after : &a->n_before);
	}
	nk_device_normalise(d);
	return d;
}

static void ignore(const struct nk_problem *p, void *arg)
{
}

static char *encoded(const struct nk_device *d)
{
	json_t *json = nk_encode_device(d);
	char *text = json_dumps(json, JSON_COMPACT);

	assert_non_null(text);
	json_decref(json);
	return text;
}

/* Text to device; NULL if it is refused. */
static struct nk_device *decoded(const char *text, size_t len)
{
	struct nk_error err = {};
	struct nk_device *d = NULL;
	json_t *json = NULL;

	if (nk_json_parse(text, len, &json, &err) == 0)
		nk_decode_device(json, "", &d, &err);
	/* Refused or not, it is said; and what is said can be sent. */
	if (!d) {
		json_t *e = nk_error_encode(&err);

		assert_int_not_equal(err.code, NK_E_NONE);
		assert_non_null(e);
		assert_true(json_string_length(json_object_get(e, "message")) > 0);
		json_decref(e);
	}
	json_decref(json);
	nk_error_clear(&err);
	return d;
}

static void decoding_undoes_encoding(void **state)
{
	unsigned good = 0;

	for (unsigned i = 0; i < ROUND_TRIPS; i++) {
		struct nk_device *d = random_device(), *back;
		char *text, *again;

		/* Two random names or routes may collide: such devices are none. */
		if (nk_device_check(d, "", ignore, NULL) > 0) {
			nk_device_unref(d);
			continue;
		}
		good++;
		text = encoded(d);
		back = decoded(text, strlen(text));
		if (!back)
			fail_msg("refused: %s", text);
		if (!nk_device_equal(d, back))
			fail_msg("read back as another device: %s", text);
		again = encoded(back);
		assert_string_equal(text, again);
		free(text);
		free(again);
		nk_device_unref(d);
		nk_device_unref(back);
	}
	assert_true(good > ROUND_TRIPS / 2);
}

static const char *const tokens[] = {
	"{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "\\ud800", "null", "true", "-1", "0", "1e999", "1.5", "\"\"", "{}", "[]",
	"\xff", "\xc3", "9223372036854775808", "\"name\":", "\"peer\":", "\"netns\":", "\"pid\":", "\"to\":", "\"default\"", "/", "::/0",
};

/* Change len bytes of text, in room for size, in one way of several; returns the new length. */
static size_t mutate(char *text, size_t len, size_t size)
{
	size_t at = rnd((uint32_t)len), n = 1 + rnd(16);
	const char *token;

	if (n > len - at)
		n = len - at;
	switch (rnd(5)) {
	case 0:
		text[at] = (char)rnd(256);
		return len;
	case 1:
		text[at] ^= (char)(1u << rnd(8));
		return len;
	case 2:
		memmove(text + at, text + at + n, len - at - n);
		return len - n ? len - n : 1;
	case 3:
		if (len + n > size)
			return len;
		memmove(text + at + n, text + at, len - at);
		return len + n;
	default:
		token = tokens[rnd(sizeof(tokens) / sizeof(tokens[0]))];
		n = strlen(token);
		if (len + n > size)
			return len;
		memmove(text + at + n, text + at, len - at);
		memcpy(text + at, token, n);
		return len + n;
	}
}

static void broken_text_is_refused_or_read(void **state)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < MUTATIONS / MUTATIONS_PER_DOCUMENT; i++) {
		struct nk_device *d = random_device();
		char *text = encoded(d);
		size_t whole = strlen(text), size = whole + 256;

		nk_device_unref(d);
		for (unsigned j = 0; j < MUTATIONS_PER_DOCUMENT; j++) {
			/* As large as what is in it, so that a read past the end is seen. */
			char *copy = malloc(size), *exact;
			size_t len = whole;

			memcpy(copy, text, whole);
			for (unsigned k = 1 + rnd(4); k > 0; k--)
				len = mutate(copy, len, size);
			exact = malloc(len);
			memcpy(exact, copy, len);
			d = decoded(exact, len);
			if (d) {
				char *canon = encoded(d);
				struct nk_device *back = decoded(canon, strlen(canon));

				taken++;
				assert_non_null(back);
				assert_true(nk_device_equal(d, back));
				nk_device_unref(back);
				free(canon);
			}
			nk_device_unref(d);
			free(exact);
			free(copy);
		}
		free(text);
	}
	/* If nothing or everything passed, the test would say nothing. */
	assert_in_range(taken, MUTATIONS / 1000, MUTATIONS / 2);
}

/* A JSON value of any kind, nested a little. */
static json_t *random_json(unsigned depth)
{
	static const char *const words[] = {"", "a", "pass", "l2", "10.0.0.1/24", "fd00::1/64", "default", "netkit/peer", "/x", "02:00:00:00:00:01"};
	static const char *const keys[] = {"name", "peer", "netns", "mtu", "to", "via", "pid", "hook", "program", "pin", "addresses", "routes"};
	json_t *json;

	switch (rnd(depth ? 8 : 6)) {
	case 0:
		return json_null();
	case 1:
		return json_boolean(coin());
	case 2:
		return json_integer((json_int_t)rnd(70000) - 100);
	case 3:
		return json_integer(coin() ? INT64_MAX : INT64_MIN);
	case 4:
		return json_real(rnd(100) / 7.0);
	case 5:
		return json_string(words[rnd(sizeof(words) / sizeof(words[0]))]);
	case 6:
		json = json_array();
		for (unsigned n = rnd(4); n > 0; n--)
			json_array_append_new(json, random_json(depth - 1));
		return json;
	default:
		json = json_object();
		for (unsigned n = rnd(4); n > 0; n--)
			json_object_set_new(json, keys[rnd(sizeof(keys) / sizeof(keys[0]))], random_json(depth - 1));
		return json;
	}
}

/* Put something else at a random place of the tree. */
static void graft(json_t *json)
{
	for (;;) {
		size_t n = json_is_object(json) ? json_object_size(json) : json_array_size(json), at;
		json_t *below;

		if (n == 0)
			return;
		at = rnd((uint32_t)n);
		if (json_is_object(json)) {
			void *it = json_object_iter(json);

			while (at-- > 0)
				it = json_object_iter_next(json, it);
			below = json_object_iter_value(it);
			if (coin() || !(json_is_object(below) || json_is_array(below))) {
				json_object_iter_set_new(json, it, random_json(3));
				return;
			}
		} else {
			below = json_array_get(json, at);
			if (coin() || !(json_is_object(below) || json_is_array(below))) {
				json_array_set_new(json, at, random_json(3));
				return;
			}
		}
		json = below;
	}
}

static void broken_documents_are_refused_or_read(void **state)
{
	unsigned taken = 0, loops = MUTATIONS / 4;

	for (unsigned i = 0; i < loops; i++) {
		struct nk_device *d = random_device();
		json_t *doc = json_pack("{s:[o],s:[{s:s,s:s,s:s},{s:s,s:s,s:s}]}", "devices", nk_encode_device(d), "programs", "name", "p", "pin",
					"/p", "on_drift", "report", "name", "q", "object", "/q", "program", "q");
		struct nk_document_input in = {};
		struct nk_error err = {};
		int r;

		nk_device_unref(d);
		graft(doc);
		r = nk_decode_document(doc, "/document", &in, &err);
		if (r == 0) {
			taken++;
			nk_document_input_clear(&in);
		} else {
			assert_int_equal(r, -EINVAL);
			assert_true(err.n_problems > 0);
		}
		nk_error_clear(&err);
		json_decref(doc);
	}
	assert_in_range(taken, loops / 1000, loops / 2);
}

static int seed(void **state)
{
	const char *text = getenv("NK_SEED");

	rng = text ? strtoull(text, NULL, 0) : 20250101;
	rng = rng ? rng : 1;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(decoding_undoes_encoding, seed),
		cmocka_unit_test_setup(broken_text_is_refused_or_read, seed),
		cmocka_unit_test_setup(broken_documents_are_refused_or_read, seed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
