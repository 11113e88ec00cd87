#!/bin/sh
# Authenticates our client and server with a third party's: tapir-cwtch 0.1.11, a
# Rust library by Cwtch's author, from crates.io. Needs cargo and, at the first
# run, the network. Without cargo it says so and succeeds, but fails where CI is
# set.
#
# The library was written for an old nightly compiler. Its copy below .cache/ is
# adapted to a stable one: two feature attributes and the include of its README
# go, and transmute is imported from where it is now. None of that touches what it
# sends. All crates are those of driver/Cargo.lock; nothing of them is committed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
scratch=$root/.cache/interop
PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin

if ! command -v cargo >/dev/null; then
	echo "interop: cargo is missing, see https://rustup.rs; authentication with tapir-cwtch was not checked" >&2
	if [ -n "${CI:-}" ]; then
		exit 1
	fi
	exit 0
fi

# The sources are fetched again when the script or the list of crates changes.
mkdir -p "$scratch/driver"
cp -R "$here/driver/." "$scratch/driver"
cd "$scratch/driver"
stamp=$(cat "$here/run.sh" Cargo.toml Cargo.lock | sha256sum)
if [ "$(cat "$scratch/stamp" 2>/dev/null)" != "$stamp" ]; then
	rm -rf "$scratch/vendor"
	cargo vendor --quiet --locked "$scratch/vendor"

	crate=$scratch/vendor/tapir-cwtch
	sed -i -e '/^#!\[feature(array_methods)\]$/d' -e '/^#!\[feature(external_doc)\]$/d' \
		-e '/^#!\[doc(include = /d' "$crate/src/lib.rs"
	sed -i 's/^use std::intrinsics::transmute;$/use std::mem::transmute;/' "$crate/src/primitives/identity.rs"
	# cargo refuses a vendored crate whose files have other checksums.
	sed -i 's/"files":{[^}]*}/"files":{}/' "$crate/.cargo-checksum.json"
	printf '%s\n' "$stamp" >"$scratch/stamp"
fi

# The library's warnings are not ours to mend.
RUSTFLAGS=--cap-lints=allow cargo build --quiet --frozen --target-dir "$scratch/target" \
	--config 'source.crates-io.replace-with = "vendored"' \
	--config "source.vendored.directory = '$scratch/vendor'"

cd "$root"
INTEROP_DRIVER=$scratch/target/debug/interop-driver go test -count=1 -v -timeout 3m ./core/tapir/interop
