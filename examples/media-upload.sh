#!/bin/sh
# Uploads files to a channel with curl, and prints the URL of each.
#   JID=alice@example.com/laptop media-upload.sh https://media.example.com room@example.com FILE...
# An XMPP client that is logged in as JID must confirm each upload (XEP-0070). CURL_OPTIONS are options for curl.
set -eu

if [ $# -lt 3 ] || [ -z "${JID:-}" ]; then
	echo "usage: JID=USER@DOMAIN/RESOURCE $0 ENDPOINT CHANNEL FILE..." >&2
	exit 2
fi
endpoint=$1
channel=$2
shift 2
for file; do
	# Credentials are the address and a transaction id, which is used only once.
	transaction=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
	# shellcheck disable=SC2086 # CURL_OPTIONS is a list of words
	curl -fsS ${CURL_OPTIONS:-} -u "$JID:$transaction" -o /dev/null -D - \
		-F "filename=$(basename "$file")" -F "data=@$file" "$endpoint/$channel" |
		sed -n 's/\r$//; s/^[Ll]ocation: //p'
done
