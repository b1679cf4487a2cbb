#!/bin/sh
# Puts the hashes of the passwords into the definitions, then runs the command: the passwords are
# in no file but the secrets, and a changed one counts from the next start.
#
# usage: start.sh TEMPLATE SECRETS DEFINITIONS COMMAND...

set -eu
umask 077
template=$1 secrets=$2 definitions=$3
shift 3

# Each argument is a byte in hexadecimal.
bytes() {
    for byte; do
        # shellcheck disable=SC2059  # the format is an escape made here
        printf "\\$(printf %03o "0x$byte")"
    done
}

# As RabbitMQ keeps a password: base64 of a salt of four bytes and SHA-256 of salt and password.
hash_of() {
    [ -s "$secrets/$1" ] || {
        echo "start.sh: $secrets/$1 is absent or empty: run make secrets" >&2
        exit 1
    }
    salt=$(od -An -N4 -tx1 /dev/urandom)
    # shellcheck disable=SC2086  # a list of bytes
    digest=$({ bytes $salt && head -n 1 "$secrets/$1" | tr -d '\n'; } | sha256sum | cut -c 1-64)
    # shellcheck disable=SC2046,SC2086
    bytes $salt $(echo "$digest" | sed 's/../& /g') | base64 -w 0
}

bridge=$(hash_of bridge_password)
consumer=$(hash_of consumer_password)
sed -e "s|@bridge_password@|$bridge|" -e "s|@consumer_password@|$consumer|" \
    "$template" >"$definitions"
exec "$@"
