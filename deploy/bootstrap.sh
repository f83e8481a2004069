#!/usr/bin/env bash
# Installs from the system's packages what payswitch needs and the machine lacks; does nothing if all is there.
#   deploy/bootstrap.sh            check, and install what is missing (as root, or with sudo)
#   deploy/bootstrap.sh --check    only check: exit 1 and a list of what is missing
#   deploy/bootstrap.sh --python   print the Python (3.11 or newer) that will be used
# PYTHON=/path/to/python chooses another one.
set -euo pipefail

say() { printf 'bootstrap: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

python_is() { # python_is <python> <lowest minor> <highest minor>
  "$1" -c "import sys; sys.exit(not (sys.version_info[0] == 3 and $2 <= sys.version_info[1] <= $3))" 2>/dev/null
}

find_python() { # the versions first for which every locked package has a wheel
  if [ -n "${PYTHON:-}" ]; then command -v "$PYTHON"; return; fi
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if python_is "$candidate" 11 13; then command -v "$candidate"; return; fi
  done
  for candidate in python3 python3.14; do
    if python_is "$candidate" 11 99; then command -v "$candidate"; return; fi
  done
}

has_header() { printf '#include <%s>\n' "$1" | cc -E -x c ${2:+"-I$2"} - >/dev/null 2>&1; }

has_softhsm() {
  if [ -n "${PAYSWITCH_HSM__MODULE:-}" ]; then return 0; fi
  command -v softhsm2-util >/dev/null || return 1
  local library
  for library in /usr/lib/softhsm /usr/lib/*/softhsm /usr/lib64/softhsm /usr/lib64/pkcs11 /usr/local/lib/softhsm \
    /opt/homebrew/lib/softhsm; do
    if [ -e "$library/libsofthsm2.so" ]; then return 0; fi
  done
  return 1
}

missing_debian() { # names of Debian and Ubuntu packages, one a line
  local python name
  command -v make >/dev/null || echo make
  command -v cc >/dev/null || printf '%s\n' gcc libc6-dev
  has_softhsm || echo softhsm2
  has_header openssl/evp.h || echo libssl-dev
  python=$(find_python)
  if [ -z "$python" ]; then
    name=$(newest_python_package)
    printf '%s\n' "$name" "$name-dev" "$name-venv"
    return
  fi
  name=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
  "$python" -c 'import venv, ensurepip' 2>/dev/null || echo "$name-venv"
  has_header Python.h "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')" || echo "$name-dev"
}

newest_python_package() {
  local version
  for version in 3.13 3.12 3.11; do
    if apt-cache show "python$version-venv" >/dev/null 2>&1; then echo "python$version"; return; fi
  done
  echo python3.11
}

missing_macos() { # names of Homebrew formulas
  has_softhsm || echo softhsm
  [ -d "$(brew --prefix openssl@3 2>/dev/null)/include" ] || echo openssl@3
  [ -n "$(find_python)" ] || echo python@3.12
}

root_by() { # prints what runs a command as root: nothing for root, or sudo
  if [ "$(id -u)" = 0 ]; then return 0; fi
  command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; } && echo sudo
}

install_debian() {
  local sudo apt
  sudo=$(root_by) || die "root must install these, and there is no sudo without a password: apt-get install $*"
  apt=(${sudo:+"$sudo"} env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
  say "installing: $*"
  "${apt[@]}" update >&2 || say "apt-get update failed; trying with the lists that are there"
  "${apt[@]}" install -y --no-install-recommends "$@" >&2 </dev/null
}

main() {
  if [ -n "${PYTHON:-}" ] && ! python_is "$PYTHON" 11 99; then die "PYTHON=$PYTHON is not a Python 3.11 or newer"; fi
  if [ "${1:-}" = --python ]; then
    local python
    python=$(find_python)
    [ -n "$python" ] || die "no Python 3.11 or newer; install one, or set PYTHON=/path/to/python"
    printf '%s\n' "$python"
    return
  fi
  local system=debian install=(install_debian)
  if [ "$(uname -s)" = Darwin ]; then
    command -v cc >/dev/null || die "no compiler: run xcode-select --install"
    command -v brew >/dev/null || die "no Homebrew: see https://brew.sh"
    system=macos install=(brew install)
  fi
  local missing
  missing=$("missing_$system" | sort -u)
  if [ -z "$missing" ]; then return; fi
  if [ "${1:-}" = --check ]; then die "missing: ${missing//$'\n'/ }"; fi
  if [ "$system" = debian ] && ! command -v apt-get >/dev/null; then
    die "this system has no apt-get; install what these Debian packages hold: ${missing//$'\n'/ }"
  fi
  # shellcheck disable=SC2086  # one word a package
  "${install[@]}" $missing
  missing=$("missing_$system" | sort -u)
  if [ -n "$missing" ]; then die "still missing after the installation: ${missing//$'\n'/ }"; fi
}

main "$@"
