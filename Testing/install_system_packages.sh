#!/bin/sh
# Installs the browser that the report's tests open, where that is allowed: as root, on Debian or Ubuntu.
# Elsewhere those tests are skipped and say so.
set -eu
for browser in chromium chromium-browser google-chrome; do
    if command -v "$browser" >/dev/null 2>&1; then
        exit 0
    fi
done
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "No chromium: the tests that open report.html in a browser will be skipped." >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null; then
    echo "chromium could not be installed: the tests that open report.html in a browser will be skipped." >&2
fi
