# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The project, built inside the lab's root from a copy of the checkout. Sourced by tools/lab.
# Each checkout has a tree of its own in the cache (the copy, its two meson builds), kept from run to run, so that a change
# is built in seconds. What a machine gets is a tar of the install, named by the content it was made from: two checkouts
# with the same content share it.

# The files that matter: tracked, and new ones that git doesn't ignore. NUL-separated.
sources() {
	git -c safe.directory='*' -C "$checkout" ls-files -z --cached --others --exclude-standard |
		(cd "$checkout" && while IFS= read -r -d '' file; do
			[[ ! -e $file && ! -L $file ]] || printf '%s\0' "$file"
		done)
}

# manifest DIR <FILES: one line a file: checksum, mode, path.
manifest() {
	(cd "$1" && sort -zu | xargs -0r sh -c 'stat -c %a -- "$@" | paste -d " " - /dev/fd/3 3<<-END
		$(sha256sum -- "$@")
	END' manifest)
}

# The options of each build, named by tree_build. The sanitized one has the unit tests, the plain one is what gets installed.
build_options_plain=(--buildtype=debugoptimized -Dbench=true)
# shellcheck disable=SC2034 # tree_build uses it by name
build_options_san=(--buildtype=debug -Doptimization=1 -Dtests=true "-Db_sanitize=address,undefined" -Db_lundef=false)

# tree_open: sets $tree to this checkout's tree, locked until $tree_lock is closed, with the copy as the checkout is now.
tree_open() {
	local name other
	name=tree-$(echo "$checkout $(basename "$root")" | sha256sum | cut -c1-16)
	in_use "$name"
	lock "$name"
	tree_lock=$lock_fd
	tree=$cache/$name
	if [[ ! -e $tree ]]; then
		# A new checkout begins with what another one has built, and builds the difference.
		scratch=$(mktemp -d "$cache/new.XXXXXX")
		other=$(tree_of_another "$name")
		[[ -z $other ]] || cp -a --reflink=auto "$other/." "$scratch"
		mkdir -p "$scratch"/{source,plain,san}
		basename "$root" >"$scratch/root"
		mv -T "$scratch" "$tree"
		scratch=
		prune 'tree-*' "${cache_keep[tree]}"
	fi
	touch "$tree"
	tree_sync
}

# tree_of_another NAME: a tree of the same root that nobody works on at this moment.
tree_of_another() {
	local other fd
	for other in $(cd "$cache" && ls -dt tree-* 2>/dev/null); do
		[[ $other != "$1" && $(<"$cache/$other/root") == "$(basename "$root")" ]] || continue
		exec {fd}>"$cache/locks/$other"
		# Held until this run ends, so that nobody builds there while it is copied.
		flock -n "$fd" || continue
		echo "$cache/$other"
		return
	done
}

# tree_sync: makes the copy like the checkout. Only what differs in content is written, with the time of now: the copy's
# times are what ninja goes by, wherever the content came from.
tree_sync() {
	local old=$tree/manifest new=$tree/manifest.new
	touch "$old"
	sources | manifest "$checkout" >"$new"
	cmp -s "$old" "$new" && return
	comm -23 <(cut -d' ' -f4- "$old" | sort) <(cut -d' ' -f4- "$new" | sort) | tr '\n' '\0' | (cd "$tree/source" && xargs -0r rm -f --)
	comm -13 <(sort "$old") <(sort "$new") | cut -d' ' -f4- | tr '\n' '\0' |
		tar -c -C "$checkout" --null --no-recursion -T - | tar -x -m -C "$tree/source"
	mv "$new" "$old"
}

# in_tree plain|san [DIR:MOUNT]… -- COMMAND…
in_tree() {
	local kind=$1
	shift
	in_root "$tree/source:/src:ro" "$tree/$kind:/build" "$@"
}

# tree_build plain|san: brings that build up to date. What meson and the compiler say is shown when they fail.
tree_build() {
	local kind=$1 log=$tree/$1.log options
	declare -n options=build_options_$1
	options+=(--prefix=/usr --sysconfdir=/etc --localstatedir=/var --werror)
	if ! cmp -s "$tree/$kind.options" - <<<"${options[*]}" || [[ ! -e $tree/$kind/build.ninja ]]; then
		say "build: configuring ($kind)…"
		rm -rf "${tree:?}/$kind"
		mkdir "$tree/$kind"
		in_tree "$kind" -- meson setup /build /src "${options[@]}" >"$log" 2>&1 || {
			cat "$log" >&2
			die "meson could not configure the project (above, what it says)"
		}
		echo "${options[*]}" >"$tree/$kind.options"
	fi
	say "build: compiling what changed ($kind)…"
	in_tree "$kind" -- ninja --quiet -C /build >"$log" 2>&1 || {
		cat "$log" >&2
		die "the project does not build (above, what the compiler says)"
	}
}

project_build() {
	tree_build plain
	in_tree plain -- sh -ec 'rm -rf /build/install; mkdir /build/install; meson install -C /build --no-rebuild --quiet --destdir /build/install'
	tar -c --sort=name --owner=0 --group=0 -C "$tree/plain/install" -f "$1" .
}

# project_ready: sets $project to the tar of the install of the checkout as it is now.
project_ready() {
	local recipe name
	recipe=$({ basename "$root"; declare -f project_build tree_build; echo "${build_options_plain[@]}"; } | sha256sum)
	name=project-$({ echo "$recipe"; sources | manifest "$checkout"; } | sha256sum | cut -c1-16).tar
	if [[ ! -e $cache/$name ]]; then
		tree_open
		# The copy is what gets built, so that its content names the result.
		name=project-$({ echo "$recipe"; cat "$tree/manifest"; } | sha256sum | cut -c1-16).tar
	fi
	cached "$name" project_build
	[[ -z ${tree_lock:-} ]] || exec {tree_lock}>&-
	project=$cache/$name
}
