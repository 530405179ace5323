#!/bin/sh
# Makes the database cluster before the first start. One that was made by half is made anew.
set -eu
[ -s "$PGDATA/PG_VERSION" ] && exit 0
rm -rf "$PGDATA.new"
initdb -D "$PGDATA.new" -U admin -A scram-sha-256 --pwfile=/secrets/admin -E UTF8 --locale=C --no-instructions
mv "$PGDATA.new" "$PGDATA"
