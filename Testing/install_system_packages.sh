#!/bin/sh
# Installs what the tests need of the system, where that is allowed: as root, on Debian or Ubuntu. Elsewhere it says what
# is missing: the report's tests are skipped without a browser, the panel's tests fail without the libraries.
set -eu

# What VTK draws with when there is no display, and what PySide6 links to.
libraries="libegl1 libgl1 libgl1-mesa-dri libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0 fonts-dejavu-core"

has_browser() {
    for browser in chromium chromium-browser google-chrome; do
        if command -v "$browser" >/dev/null 2>&1; then
            return 0
        fi
    done
    return 1
}

is_installed() {
    # newer Debian and Ubuntu name some libraries with t64 at the end
    dpkg-query -W -f '${Status}\n' "$1" "$1t64" 2>/dev/null | grep -q "install ok installed"
}

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "Not Debian or Ubuntu: install a browser, EGL with a software renderer, and Qt's libraries yourself." >&2
    exit 0
fi
missing=""
for package in $libraries; do
    is_installed "$package" || missing="$missing $package"
done
has_browser || missing="$missing chromium"
if [ -z "$missing" ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "Missing for some tests (install as root):$missing" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # a list of names
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null; then
    echo "Could not be installed, some tests will be skipped or fail:$missing" >&2
fi
