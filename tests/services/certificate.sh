#!/usr/bin/env bash
# certificate.sh DIR: makes what a test service on this machine needs for TLS.
#
#   DIR/ca.pem      the authority; clients trust this one
#   DIR/server.pem  the certificate of 127.0.0.1, ::1 and localhost
#   DIR/server.key  its key
#
# The authority's own key is thrown away. Files already there are kept.
set -euo pipefail

dir=${1:?usage: certificate.sh DIR}
mkdir -p "$dir"
if [[ -s $dir/ca.pem && -s $dir/server.pem && -s $dir/server.key ]]; then
  exit 0
fi
echo "certificate: $dir/server.pem, signed by $dir/ca.pem"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

cat >"$work/openssl.cnf" <<'CONFIG'
[req]
distinguished_name = name
prompt = no
[name]
CN = Shipline tests
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = IP:127.0.0.1, IP:::1, DNS:localhost
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CONFIG

key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
{
  openssl req -x509 -config "$work/openssl.cnf" -extensions authority "${key[@]}" \
    -keyout "$work/ca.key" -out "$work/ca.pem" -days 825
  openssl req -new -config "$work/openssl.cnf" -subj /CN=localhost "${key[@]}" \
    -keyout "$work/server.key" -out "$work/server.csr"
  openssl x509 -req -in "$work/server.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" \
    -extfile "$work/openssl.cnf" -extensions server -days 825 -out "$work/server.pem"
} >"$work/log" 2>&1 </dev/null || {
  cat "$work/log" >&2
  exit 3
}
chmod 644 "$work/ca.pem" "$work/server.pem"
mv "$work/ca.pem" "$work/server.pem" "$work/server.key" "$dir/"
