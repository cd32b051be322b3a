# Makes the database on the first start, and becomes the command as its user.
set -eu

as_postgres() {
  setpriv --reuid postgres --regid postgres --init-groups "$@"
}

if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  : "${POSTGRES_PASSWORD:?a password is needed: set POSTGRES_PASSWORD}"
  chown postgres:postgres "$PGDATA"
  chmod 700 "$PGDATA"
  password=$(mktemp)
  printf '%s\n' "$POSTGRES_PASSWORD" >"$password"
  chown postgres "$password"
  as_postgres initdb --no-sync --auth=scram-sha-256 --username="${POSTGRES_USER:-postgres}" --pwfile="$password"
  rm "$password"
  echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
fi
exec setpriv --reuid postgres --regid postgres --init-groups "$@"
