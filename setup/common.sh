# What the scripts of this folder share; they source it.

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# What a command needs before it to be root's: nothing, or sudo.
as_root=
[ "$(id -u)" = 0 ] || as_root=sudo

# Whether apt is here and root's commands need no password.
can_apt() {
    command -v apt-get >/dev/null && { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }
}

# Installs packages. The lists first: packages are renewed often and old
# versions disappear.
apt_install() {
    $as_root apt-get update -qq >/dev/null || return 1
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null
}

# How a person installs them.
by_hand() {
    printf '%s' "${as_root:+$as_root }apt-get update && ${as_root:+$as_root }apt-get install -y --no-install-recommends $*"
}
