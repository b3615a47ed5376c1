// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of event kinds, and the journal's catalogue made of it. Texts are for the administrator who reads the journal and
 * has never heard of netkitd.
 */
#include "api/events.h"

#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

const struct nk_event_info nk_event_kinds[NK_EVENT_KINDS] = {
	[NK_EVENT_DAEMON_STARTED] = {
		"daemon-started", "49100544db8546239cab7f981dc39d6b", LOG_INFO,
		"netkitd has started",
		"The daemon has read its document; now it reads what the kernel holds and makes them equal. What is right already is not "
		"touched.",
		"Nothing. `netkitd-cli status` tells how far it is."},
	[NK_EVENT_DAEMON_STOPPING] = {
		"daemon-stopping", "178307e3a85946ab9f91b398b09dc07d", LOG_INFO,
		"netkitd stops",
		"The daemon was asked to stop. Devices, addresses, routes and programs stay as they are and go on working; until it runs "
		"again, nobody puts back what is changed.",
		"Nothing, if this was intended. Otherwise `systemctl start netkitd`."},
	[NK_EVENT_DOCUMENT_CHANGED] = {
		"document-changed", "9b1556153c794dfa9e8f016c32ff90e4", LOG_INFO,
		"The desired state is now at revision @NETKITD_REVISION@",
		"A client, or a file under /etc/netkitd/state.d, changed the desired state. The change is on disk and is being carried "
		"out.",
		"Nothing. `netkitd-cli wait` returns when it is carried out."},
	[NK_EVENT_DEVICE_DELETED] = {
		"device-deleted", "f02eea910fda4d929c5e4615059fb52a", LOG_DEBUG,
		"Device @NETKITD_DEVICE@ was deleted",
		"The document no longer names the device, and it is gone from the kernel with its programs' links. Of an interface only what "
		"netkitd had attached is gone.",
		"Nothing."},
	[NK_EVENT_DEVICE_READY] = {
		"device-ready", "2f08ec9bf7a946f5ad6460445fa0330b", LOG_DEBUG,
		"Device @NETKITD_DEVICE@ is ready",
		"The kernel has confirmed everything that the document says of the device, and it carries packets.",
		"Nothing."},
	[NK_EVENT_DEVICE_DEGRADED] = {
		"device-degraded", "b20b9e56eca647de8abc4dfc68eb67d4", LOG_WARNING,
		"Device @NETKITD_DEVICE@ can't be made as desired",
		"The kernel refused something that the document asks for, or something that the device needs is missing: the message, and "
		"ERRNO= and NETKITD_EXTACK= where they are set, say what. netkitd tries again with growing pauses. A new device stays "
		"closed meanwhile.",
		"See `netkitd-cli get @NETKITD_DEVICE@`. Change what stands in the way, or the document; the next try finds it by itself."},
	[NK_EVENT_DEVICE_RELEASED] = {
		"device-released", "f2a07c407f0d45d58b294f0a8ed206c6", LOG_NOTICE,
		"The owner of device @NETKITD_DEVICE@ is gone",
		"The network namespace that the device's peer belongs to no longer exists, most often because its container ended. Nothing "
		"is repaired or tried for the device until the namespace is there again or the document changes.",
		"Whoever stated the device should delete it: `netkitd-cli delete @NETKITD_DEVICE@`."},
	[NK_EVENT_DEVICE_UNCLAIMED] = {
		"device-unclaimed", "80adfbfb9216404fa25ba75c9d65ef70", LOG_WARNING,
		"Device @NETKITD_DEVICE@ is netkitd's, but no document names it",
		"The device carries netkitd's mark, so netkitd made it; yet the desired state does not contain it, for example because the "
		"database was lost. It stays as it is and goes on working.",
		"`netkitd-cli rebuild --unclaimed` makes a document of such devices. Apply it to keep them. To remove one: `netkitd-cli delete "
		"@NETKITD_DEVICE@`."},
	[NK_EVENT_DRIFT] = {
		"drift", "2d595b3ae3234609a081d329a3ef79e3", LOG_NOTICE,
		"@NETKITD_OBJECT@ was changed by somebody else",
		"Something of the device, of what is attached to the interface, or the pin of the program differs from the desired state, "
		"and netkitd did not do it. The message says what, and who did it where the kernel can tell: NETKITD_CULPRIT_COMM=, _PID=, "
		"_UID=, _CGROUP= and _UNIT=. It is put back, unless its on_drift says that it is to be left.",
		"Once is nothing to worry about. If it goes on, something else on this host manages the same object: make it leave that "
		"alone."},
	[NK_EVENT_REPAIRED] = {
		"repaired", "01c977cc68884b4b8af7db00912d8fc4", LOG_NOTICE,
		"@NETKITD_OBJECT@ is as desired again",
		"What somebody else had changed was put back, and the kernel has confirmed it. NETKITD_TOOK_US= says how long it took, in "
		"microseconds.",
		"Nothing."},
	[NK_EVENT_CONTENDED] = {
		"contended", "aed5fd477da44c4e99f7e9ef5d087bba", LOG_WARNING,
		"Somebody keeps changing @NETKITD_OBJECT@",
		"The same command has changed it again and again, each time after netkitd had put it back. Repairs go on, but wait "
		"with growing pauses, and are counted instead of told one by one. It is Degraded (Contended) until it is left alone. A "
		"device that lacks a required program is still closed at once.",
		"Something else on this host manages the same object: the message names it. Make it leave that alone, or take the object out of "
		"netkitd's document."},
	[NK_EVENT_CONTENTION_ENDED] = {
		"contention-ended", "d7cf32dd155d470a9864355b0e0349f7", LOG_NOTICE,
		"@NETKITD_OBJECT@ is left alone again",
		"Who kept changing it has not done so for a while. NETKITD_COUNT= says how often he did.",
		"Nothing."},
	[NK_EVENT_WATCHER_REMOVED] = {
		"watcher-removed", "804ad3928b1a4b0cbe4e2ab843e0c505", LOG_WARNING,
		"netkitd's tracing programs were taken away",
		"The programs by which netkitd notices at once what others do, and knows who did it, were detached by closing its descriptors, as a "
		"debugger can. The message says who did it, where the kernel can tell, and whether new ones could be put in their place; what may "
		"have been missed meanwhile is looked for.",
		"Find out who did that and why. If they could not be replaced, `netkitd-cli status` says why, and changes of programs are noticed "
		"from time to time only."},
	[NK_EVENT_PROGRAM_LOADED] = {
		"program-loaded", "3ee6ee8bbf654396a9ed5209874cb918", LOG_INFO,
		"Program @NETKITD_PROGRAM@ is loaded",
		"The kernel accepted the BPF program; attachments may use it.",
		"Nothing."},
	[NK_EVENT_PROGRAM_DEGRADED] = {
		"program-degraded", "3f69db6177464911a3d506a6493e91f4", LOG_WARNING,
		"Program @NETKITD_PROGRAM@ can't be loaded or pinned",
		"Its file or pin is missing or unreadable, the kernel's verifier refused it, or its pin can't be put back: the message says which. Devices that need "
		"it stay closed if they are new; those that are running keep the programs they have.",
		"Put the file right, or the document. netkitd tries again by itself; `systemctl reload netkitd` makes it try at once."},
	[NK_EVENT_RESYNC] = {
		"resync", "0770e1ef658a4c44b3924ef51d73d01d", LOG_NOTICE,
		"Everything is read anew from the kernel",
		"The kernel had more changes to tell than fit its buffer, the pins were removed or their bpffs was unmounted, or a reading failed: the "
		"message says which. What was missed is found by reading everything once; until a reading succeeds nothing is changed.",
		"Nothing, if it is rare. If it happens often, look for what changes the network so often: `ip monitor`."},
	[NK_EVENT_CLIENT_DROPPED] = {
		"client-dropped", "ef2be5b48acc4329a92dbaef622c717a", LOG_NOTICE,
		"A client was disconnected",
		"It did not read what it had asked for, or sent more than is allowed. netkitd never waits for a client.",
		"Look at the program that the message names: it must read its socket."},
	[NK_EVENT_STATE_FILE_REFUSED] = {
		"state-file-refused", "f88bbe61f4f642c393d39581fb77f1a9", LOG_ERR,
		"A file under /etc/netkitd/state.d was refused",
		"The file can't be read as a document, or contradicts the rest of the desired state; the message names the place. Nothing of "
		"it was taken, and what it had stated before holds.",
		"Correct the file, then `systemctl reload netkitd`; `netkitd-cli status` says whether it was taken."},
	[NK_EVENT_DATABASE_FAILED] = {
		"database-failed", "179ff83be8ba4aa892ebbdbff6c64b6e", LOG_ERR,
		"The desired state can't be written",
		"The database under /var/lib/netkitd could not be written: the message says why. The change was refused, and the desired "
		"state is as before. Where it was only to be forgotten that a device was deleted, that is tried again when netkitd starts.",
		"See that the disk is not full, not read-only and not failing, then send the change again."},
	[NK_EVENT_CAPABILITY_MISSING] = {
		"capability-missing", "7ab692136bd348f088cfe8f24a6249fd", LOG_WARNING,
		"Something that netkitd relies on is missing",
		"The message says what: a feature of the kernel, and the option that gives it; tracing, without which changes of programs are "
		"noticed from time to time only and nobody is named; or a place for the pins, which netkitd tries again to find by itself. Devices "
		"and programs that are there go on working.",
		"`netkitd --check` lists all features. Use a kernel that has this one, or see what stands at the pins' path."},
};

bool nk_event_is_kept(enum nk_event_kind kind)
{
	return nk_event_kinds[kind].priority <= LOG_NOTICE;
}

char *nk_event_catalog(void)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	fputs("# SPDX-License-Identifier: GPL-2.0-only\n# Printed by netkitd-contract from api/events.c.\n", out);
	for (int k = 0; k < NK_EVENT_KINDS; k++) {
		const struct nk_event_info *i = &nk_event_kinds[k];

		fprintf(out, "\n-- %s\nSubject: %s\nDefined-By: netkitd\nDocumentation: man:netkitd(8)\n\n%s\n\n%s\n", i->message_id, i->subject,
			i->meaning, i->action);
	}
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
