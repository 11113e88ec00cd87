#!/usr/bin/env bash
# Makes the plugin:
#
#   storage-python.pyz  the program, one file, which is what the checksum covers
#   venv/               the libraries it needs, at the versions of requirements.txt
#
# The first line of the program names the Python of the venv by its absolute path,
# so both stay where they are built. PYTHON is the interpreter to build on; it has
# to be the system's own, or one that the sandbox is told of.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-/usr/bin/python3}
proto=${PROTO:-../../sdk/proto}

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
install build/tools requirements-build.txt
install venv requirements.txt --without-pip

# The code for the wire is made here and not kept in the repository, where it could
# come to differ from the .proto files.
rm -rf build/app
mkdir build/app
cp -r storage_python build/app/
build/tools/bin/python3 -m grpc_tools.protoc -I "$proto" --python_out=build/app --grpc_python_out=build/app \
	"$proto"/cwtch/relay/plugin/v1/{plugin,storage}.proto

# -I: no modules from the environment, the working directory or the user's home.
build/tools/bin/python3 -m zipapp build/app -o storage-python.pyz \
	-p "$PWD/venv/bin/python3 -I" -m storage_python.__main__:run
chmod 755 storage-python.pyz

# For server.hcl, which demands it.
echo "sha256:$(sha256sum storage-python.pyz | cut -d' ' -f1)" >storage-python.sum
