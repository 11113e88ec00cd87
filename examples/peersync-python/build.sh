#!/usr/bin/env bash
# Makes the plugin:
#
#   cwtch-peersync-flood_python   the program, one file, which is what the checksum covers
#   venv/   the libraries that it needs, at the versions of requirements.txt
#
# RELAY is a checkout of cwtch-relay, which has the protobuf files, the versions of the
# libraries, and cwtch_plugin.py. PYTHON is the interpreter to build on; it has to
# be the system's own, or one that the sandbox is told of.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-/usr/bin/python3}
relay=${RELAY:-../..}
skeleton=$relay/sdk/skeleton/python/storage
program=cwtch-peersync-flood_python

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
	{ echo "error: $python is older than Python 3.11" >&2; exit 1; }

# install DIR REQUIREMENTS [OPTION]: a virtual environment with exactly that, made
# anew when it has changed.
install() {
	local stamp
	stamp=$("$python" -VV; cat "$2")
	if [ "$(cat "$1/stamp" 2>/dev/null)" != "$stamp" ]; then
		rm -rf "$1"
		"$python" -m venv ${3-} "$1"
		build/tools/bin/pip --python "$1/bin/python3" --disable-pip-version-check install \
			--quiet --require-hashes --only-binary :all: --no-deps -r "$2"
		printf '%s\n' "$stamp" >"$1/stamp"
	fi
}
install build/tools "$skeleton/requirements-build.txt"
install venv "$skeleton/requirements.txt" --without-pip

# The code for the wire is made anew with each build, so that it does not come to differ
# from the .proto files.
rm -rf build/app
mkdir build/app
build/tools/bin/python3 -m grpc_tools.protoc -I "$relay/sdk/proto" --python_out=build/app --grpc_python_out=build/app \
	"$relay"/sdk/proto/cwtch/relay/plugin/v1/{plugin,storage,peersync}.proto
cp flood.py "$skeleton/cwtch_plugin.py" build/app/

# -I: no modules from the environment, the working directory or the user's home.
build/tools/bin/python3 -m zipapp build/app -o "$program" -p "$PWD/venv/bin/python3 -I" -m flood:main
chmod 755 "$program"

# For server.hcl, which demands it.
echo "sha256:$(sha256sum "$program" | cut -d' ' -f1)" >"$program.sum"
