#!/bin/sh
# Makes the three keys that all nodes share, once: examples/deploy/secrets.sh FOLDER
# A key that is there already is kept. Replacing one retires every token it signed.
set -eu
folder=${1:?usage: examples/deploy/secrets.sh FOLDER}
mkdir -p "$folder"
chmod 700 "$folder"
for name in token_key audit_key master_key; do
    [ -e "$folder/$name" ] && continue
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$folder/$name"
    # Compose hands the file itself to the container, whose user is not the owner.
    chmod 644 "$folder/$name"
done
