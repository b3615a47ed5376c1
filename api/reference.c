// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tables as a reference page in Markdown: methods, objects, settings, errors, events. netkitd-contract prints it, and
 * api/REFERENCE.md is what it printed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "api/contract.h"
#include "api/contract_shared.h"
#include "api/events.h"

#define TABLES_MAX 64

/* A document that shows the usual members; a test takes it as the daemon would. */
static const char example[] =
	"```json\n"
	"{\n"
	"  \"programs\": [\n"
	"    {\"name\": \"acct\", \"object\": \"/usr/lib/netkitd/bpf/acct.bpf.o\", \"program\": \"pod_egress\"}\n"
	"  ],\n"
	"  \"devices\": [{\n"
	"    \"name\": \"web-1\", \"mode\": \"l3\", \"policy\": \"pass\", \"mtu\": 1500,\n"
	"    \"addresses\": [\"10.0.0.1/32\"], \"routes\": [{\"to\": \"10.0.0.2/32\"}],\n"
	"    \"peer\": {\n"
	"      \"name\": \"eth0\", \"netns\": \"web-1\", \"policy\": \"drop\",\n"
	"      \"addresses\": [\"10.0.0.2/32\", \"fd00::2/128\"], \"routes\": [{\"to\": \"default\"}, {\"to\": \"::/0\"}]\n"
	"    },\n"
	"    \"attachments\": [{\"name\": \"acct\", \"hook\": \"netkit/peer\", \"program\": \"acct\", \"required\": true}]\n"
	"  }]\n"
	"}\n"
	"```\n\n";

/* Tables in the order in which they were first referred to; each becomes a section. */
struct page {
	FILE *out;
	const struct nk_table *tables[TABLES_MAX];
	size_t n;
};

void nk_table_describe(const struct nk_table *t, FILE *out)
{
	fprintf(out, "[%s](#%s)", t->name, t->name);
}

static void note(struct page *p, const struct nk_table *t);

static void note_rows(struct page *p, const struct nk_table *t)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct nk_field *f = &t->fields[i];

		if (f->type == &nk_type_include)
			note_rows(p, f->table);
		else if (f->table)
			note(p, f->table);
		else if (f->item && f->item->table)
			note(p, f->item->table);
		for (const struct nk_table *const *own = f->type->tables; own && *own; own++)
			note(p, *own);
		for (const struct nk_table *const *own = f->item ? f->item->type->tables : NULL; own && *own; own++)
			note(p, *own);
	}
}

static void note(struct page *p, const struct nk_table *t)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->tables[i] == t)
			return;
	if (p->n == TABLES_MAX)
		abort();
	p->tables[p->n++] = t;
	note_rows(p, t);
}

static void write_default(const struct nk_field *f, FILE *out)
{
	if (f->def_text)
		fprintf(out, "`\"%s\"`", f->def_text);
	else if (f->type == &nk_type_bool)
		fputs(f->def ? "`true`" : "`false`", out);
	else if (f->names)
		fprintf(out, "`\"%s\"`", f->names[f->def]);
	else
		fprintf(out, "`%" PRId64 "`", f->def);
}

static void write_rows(const struct nk_table *t, FILE *out)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct nk_field *f = &t->fields[i];

		if (f->type == &nk_type_include) {
			write_rows(f->table, out);
			continue;
		}
		fprintf(out, "| `%s` | ", f->name);
		f->type->describe(f, out);
		fputs(" | ", out);
		if (f->flags & NK_REQUIRED)
			fputs("required", out);
		else if (f->flags & NK_DEFAULT)
			write_default(f, out);
		fprintf(out, " | %s |\n", f->text);
	}
}

static void write_members(const struct nk_table *t, FILE *out)
{
	if (t->n == 0)
		return;
	fprintf(out, "| member | type | %s | meaning |\n|---|---|---|---|\n", t->output ? "" : "default");
	write_rows(t, out);
	fputc('\n', out);
}

static void write_methods(struct page *p)
{
	fputs("## Methods\n\n", p->out);
	for (int m = 0; m < NK_METHODS; m++) {
		const struct nk_method_info *i = &nk_methods[m];

		fprintf(p->out, "### %s\n\n%s%s\n\n", i->name, i->text, i->changes ? " Needs the right to change." : "");
		if (i->params->n) {
			fputs("Params:\n\n", p->out);
			write_members(i->params, p->out);
			note_rows(p, i->params);
		} else {
			fputs("No params.\n\n", p->out);
		}
		/* A result that is an object of its own is described as one. */
		if (strstr(i->result->name, ".result")) {
			fputs("Result:\n\n", p->out);
			write_members(i->result, p->out);
			note_rows(p, i->result);
		} else {
			fputs("Result: ", p->out);
			nk_table_describe(i->result, p->out);
			fputs(".\n\n", p->out);
			note(p, i->result);
		}
	}
}

static void write_errors(FILE *out)
{
	static const struct {
		enum nk_error_code code;
		const char *text;
	} codes[] = {
		{NK_E_PARSE, "What was sent is not JSON."},
		{NK_E_INVALID_REQUEST, "It is JSON, but no request of JSON-RPC 2.0."},
		{NK_E_METHOD_NOT_FOUND, "There is no such method."},
		{NK_E_INVALID_PARAMS, "A member is unknown, missing, of the wrong type, or not allowed: `problems` names each place."},
		{NK_E_INTERNAL, "The daemon failed; the journal says more."},
		{NK_E_CONFLICT, "The document is at another revision than expected, or the change contradicts what another source states."},
		{NK_E_NOT_FOUND, "There is no such object."},
		{NK_E_DENIED, "The client may not change anything, or an object file is in none of the settings' `object_dirs`."},
		{NK_E_LIMIT, "Too long, too deep, too many: netkitd(8) has the limits."},
		{NK_E_KERNEL, "The kernel refused: `errno` and `extack` say what."},
		{NK_E_TIMEOUT, "Never sent so far: a wait that runs out has a result."},
		{NK_E_UNSUPPORTED, "The kernel lacks a feature that this needs."},
	};

	fputs("## Errors\n\nAn error is JSON-RPC's: `code`, `message` (a sentence), and `data` where there is more to say: `problems`, a list "
	      "of `pointer` (JSON pointer below the params) and `message`; `more`, how many further problems were found; `errno`, its "
	      "name; `extack`, the kernel's words. A refused request changes nothing.\n\n| code | name | when |\n|---|---|---|\n",
	      out);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		fprintf(out, "| %d | %s | %s |\n", codes[i].code, nk_error_code_name(codes[i].code), codes[i].text);
	fputc('\n', out);
}

static void write_events(FILE *out)
{
	fputs("## Events\n\nAfter `event.subscribe` each event is a notification `event`, whose params are an [event](#event). Those marked "
	      "with a dagger go to subscribers only, all others to the journal too, where `journalctl -x` explains them.\n\n"
	      "| kind | meaning |\n|---|---|\n", out);
	for (int k = 0; k < NK_EVENT_KINDS; k++)
		fprintf(out, "| `%s`%s | %s |\n", nk_event_kinds[k].kind, nk_event_kinds[k].priority == LOG_DEBUG ? " †" : "",
			nk_event_kinds[k].meaning);
	fputc('\n', out);
}

char *nk_reference(void)
{
	struct page p = {};
	char *text = NULL;
	size_t size;

	p.out = open_memstream(&text, &size);
	if (!p.out)
		return NULL;
	fprintf(p.out,
		"# netkitd's contract, version %s\n\n"
		"Printed by `netkitd-contract reference` from the tables in `api/`; `api/schema.json` says the same as JSON Schema.\n\n"
		"The socket is `/run/netkitd/netkitd.sock`: JSON-RPC 2.0, one message a line, batches allowed, descriptors by SCM_RIGHTS. "
		"A message has at most %u bytes and %d levels. Params are given by name. Members that are not listed here are refused, so "
		"that a slip of the pen is never taken for a default.\n\n",
		NK_API_VERSION, NK_MESSAGE_MAX, NK_DEPTH_MAX);
	fprintf(p.out, "A [document](#document):\n\n%s", example);
	note(&p, &nk_table_document);
	write_methods(&p);
	write_errors(p.out);
	write_events(p.out);
	note(&p, &nk_table_view_event);
	note(&p, &nk_table_settings);
	fputs("## Objects\n\n", p.out);
	for (size_t i = 0; i < p.n; i++) {
		fprintf(p.out, "### %s\n\n%s\n\n", p.tables[i]->name, p.tables[i]->text);
		write_members(p.tables[i], p.out);
	}
	if (fclose(p.out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
