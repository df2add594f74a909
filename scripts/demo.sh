#!/bin/sh
# Shows the main functions with a private XMPP server and the media server. A photo is uploaded, confirmed over XMPP,
# listed, downloaded, refused to strangers, retitled and deleted. Other photos are uploaded by a slot and by the
# command-line client. At the end there is a gallery.
# KEEP=1 keeps the site running. Everything is in one scratch directory and on loopback ports.
set -eu
cd "$(dirname "$0")/.."

domain=example.org
photo=tests/fixtures/photo.jpg
password=demo-password
secret=demo-component-secret
alice=alice@$domain/laptop
mallory=mallory@$domain/laptop

pids=''
scratch=''
failed=1

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
fail() {
	printf '\nThe demo FAILED: %s\n' "$*" >&2
	exit 1
}

finish() {
	if [ "$failed" = 1 ] && [ -n "$scratch" ]; then
		for log in "$scratch"/*.log; do
			printf '\n--- %s\n' "$log" >&2
			tail -n 20 "$log" >&2
		done
	fi
	for pid in $pids; do kill "$pid" 2>/dev/null || :; done
	for pid in $pids; do wait "$pid" 2>/dev/null || :; done
	[ -z "$scratch" ] || rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

# Waits for a command to succeed; $1 says what for.
await() {
	what=$1
	shift
	tries=0
	until "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ "$tries" -lt 300 ] || fail "waited 30 s in vain for $what"
		sleep 0.1
	done
}

# A number from 20000 to 59999; Prosody's log tells whether the port was free.
some_port() { echo $((20000 + $(od -An -N2 -tu2 /dev/urandom) % 40000)); }

# Shows a command as a user would type it, runs it, and checks the HTTP status. The answer's head and
# body are left in $scratch/head and $scratch/body.
request() {
	expected=$1
	shift
	shown='$ curl'
	for word in "$@"; do
		case $word in
		*[!A-Za-z0-9_@%+=:,./?\&-]*) shown="$shown '$word'" ;;
		*[?\&]*) shown="$shown '$word'" ;;
		*) shown="$shown $word" ;;
		esac
	done
	printf '%s\n' "$shown"
	curl -q -sS --noproxy '*' --max-time 60 -D "$scratch/head" -o "$scratch/body" "$@" || fail 'curl got no answer'
	status=$(awk '/^HTTP\// { status = $2 } END { print status }' "$scratch/head")
	printf '  -> %s' "$status"
	case $(tr -d '\r' <"$scratch/head" | awk 'tolower($1) == "content-type:" { print $2 }') in
	*json*) printf '  %s\n' "$(cat "$scratch/body")" ;;
	*) printf '  (%s bytes)\n' "$(wc -c <"$scratch/body" | tr -d ' ')" ;;
	esac
	[ "$status" = "$expected" ] || fail "expected $expected"
}

# A text member of the JSON object in the last answer.
member() { sed -n "s/.*\"$1\":\"\\([^\"]*\\)\".*/\\1/p" "$scratch/body"; }

# Whether the last answer is a JPEG of this width.
is_jpeg() {
	[ "$(ffprobe -v error -f jpeg_pipe -show_entries stream=width -of csv=p=0 "$scratch/body")" = "$1" ]
}

# Basic credentials of a JID with a new transaction id.
transactions=0
sign() {
	transactions=$((transactions + 1))
	token=$(printf '%s:transaction-%s-%s' "$1" "$$" "$transactions" | base64 | tr -d '\n')
}

# How often Alice's client was asked; it prints a little after it has answered.
confirmations() { grep -c '^confirmed' "$scratch/alice.log" || :; }
asked_once() { [ "$(confirmations)" = 1 ]; }

say 'Installing missing packages, and building (the first time takes some minutes)'
scripts/install-dependencies
# The development profile: the first release build would take much longer, for no visible difference here.
cargo build --locked --quiet --bins --example xmpp-confirm
target=$(cargo metadata --locked --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
server=$target/debug/buddycloud-media-server
client=$target/debug/examples/xmpp-confirm
shell_client=$target/debug/buddycloud-media
python=$(scripts/install-python-clients "$target")

say "Starting a private Prosody for the domain $domain"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/buddycloud-demo.XXXXXX")
accounts=$scratch/data/example%2eorg/accounts
mkdir -p "$accounts" "$scratch/media"
for user in admin mediaserver alice mallory; do
	printf 'return { ["password"] = "%s" };\n' "$password" >"$accounts/$user.dat"
done
prosody_tells() {
	grep -q 'Failed to open' "$scratch/prosody.log" ||
		{ grep -q "on .*:$c2s_port\$" "$scratch/prosody.log" && grep -q "on .*:$component_port\$" "$scratch/prosody.log"; }
}
# For buddycloud-media, which logs in by TLS only.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=$domain" \
	-addext "subjectAltName=DNS:$domain" -keyout "$scratch/prosody.key" -out "$scratch/prosody.crt" 2>/dev/null
start_prosody() {
	c2s_port=$(some_port)
	component_port=$(some_port)
	: >"$scratch/prosody.log"
	SITE_DIR=$scratch SITE_MODULES=$PWD/tests/support/prosody/modules \
		C2S_PORT=$c2s_port COMPONENT_PORT=$component_port COMPONENT_SECRET=$secret \
		CERTIFICATE=$scratch/prosody.crt KEY=$scratch/prosody.key \
		prosody -F --config "$PWD/tests/support/prosody/prosody.cfg.lua" >"$scratch/prosody-output.log" 2>&1 &
	prosody=$!
	await 'Prosody to start' prosody_tells
	if grep -q 'Failed to open' "$scratch/prosody.log"; then
		kill "$prosody"
		wait "$prosody" || :
		return 1
	fi
}
start_prosody || start_prosody || start_prosody || fail 'Prosody found no free port'
pids=$prosody
xmpp=127.0.0.1:$c2s_port
channel_of() { "$client" "admin@$domain" "$password" "$xmpp" --channel "channels.$domain" "$@"; }
channel_of "alice@$domain" open "alice@$domain=owner"
channel_of "diary@$domain" whitelist "alice@$domain=owner"
echo "alice@$domain has a public channel; diary@$domain is a private one, which she owns"

say 'Starting the media server on embedded SQLite'
http_port=$(some_port)
endpoint=http://127.0.0.1:$http_port
cat >"$scratch/mediaserver.properties" <<END
http.port=$http_port
http.endpoint=$endpoint
upload.enabled=true
xmpp.component.host=127.0.0.1
xmpp.component.port=$component_port
xmpp.component.subdomain=media
xmpp.component.servername=$domain
xmpp.component.secretkey=$secret
xmpp.connection.host=127.0.0.1
xmpp.connection.port=$c2s_port
xmpp.connection.servicename=$domain
xmpp.connection.username=mediaserver
xmpp.connection.password=$password
xmpp.connection.securitymode=disabled
media.storage.root=$scratch/media
# Shorter than the default: a stranger waits for the refusal.
xmpp.reply.timeout=5s
END
echo "\$ buddycloud-media-server -c $scratch/mediaserver.properties"
"$server" -c "$scratch/mediaserver.properties" >"$scratch/mediaserver.log" 2>&1 &
pids="$! $pids"
media_server=$!
await 'the media server' curl -q -fsS --noproxy '*' "$endpoint/alice@$domain"
kill -0 "$media_server" 2>/dev/null || fail 'the media server ended'

say 'Finding the media server by service discovery (XEP-0030)'
echo "\$ xmpp-confirm alice@$domain PASSWORD $xmpp --discover $domain"
found=$("$client" "alice@$domain" "$password" "$xmpp" --discover "$domain")
echo "  -> $found"
[ "$found" = "$endpoint" ] || fail "expected $endpoint"

say 'Alice and Mallory log in to XMPP; their clients confirm the requests of the media server (XEP-0070)'
for user in alice mallory; do
	"$client" "$user@$domain/laptop" "$password" "$xmpp" >"$scratch/$user.log" 2>&1 &
	pids="$! $pids"
	await "$user to log in" grep -q '^READY' "$scratch/$user.log"
	echo "\$ xmpp-confirm $user@$domain/laptop PASSWORD $xmpp"
	sed 's/^/  -> /' "$scratch/$user.log"
done

say "Alice uploads a photo; credentials are base64($alice:TRANSACTION-ID)"
url=$found/alice@$domain
sign "$alice"
request 201 -H "Authorization: Basic $token" -F "data=@$photo;type=image/jpeg" -F filename=photo.jpg -F 'title=A photo' "$url"
id=$(member id)
[ -n "$id" ] || fail 'the answer names no id'
await 'Alice to be asked' asked_once
tail -n 1 "$scratch/alice.log" | sed 's/^/  Alice: /'

say 'Everyone lists and downloads: the channel is public'
request 200 "$url"
grep -q "\"$id\"" "$scratch/body" || fail 'the list lacks the photo'
request 200 "$url/$id"
cmp "$photo" "$scratch/body" || fail 'other bytes came down'
echo '  the downloaded bytes are the same, and no user was asked'
asked_once || fail 'Alice was asked for a public download'

say 'Previews: any box, made once'
request 200 "$url/$id?maxheight=100&maxwidth=100"
is_jpeg 100 || fail 'no JPEG of 100 pixels came down'
cp "$scratch/body" "$scratch/preview.jpg"
request 200 "$url/$id?maxheight=100&maxwidth=100"
cmp "$scratch/preview.jpg" "$scratch/body" || fail 'the preview is another the second time'
film=$scratch/film.avi
echo "\$ ffmpeg -f lavfi -i testsrc2 ... film.avi"
ffmpeg -v error -nostdin -f lavfi -i testsrc2=size=320x240:rate=10:duration=4 -c:v mpeg4 -g 10 "$film"
sign "$alice"
request 201 -H "Authorization: Basic $token" -F "data=@$film;type=video/x-msvideo" -F 'title=A film' "$url"
film_id=$(member id)
grep -q '"length":4000,"height":240,"width":320' "$scratch/body" || fail 'the film was not measured'
request 200 "$url/$film_id?maxheight=80&maxwidth=80"
is_jpeg 80 || fail 'no frame of the film came down'

say 'An avatar is made square'
picture=$scratch/me.png
echo "\$ ffmpeg -f lavfi -i testsrc2 ... me.png"
ffmpeg -v error -nostdin -f lavfi -i testsrc2=size=300x200:rate=1 -frames:v 1 "$picture"
sign "$alice"
request 201 -X PUT -H "Authorization: Basic $token" -F "data=@$picture;type=image/png" "$url/avatar"
grep -q '"height":200,"width":200' "$scratch/body" || fail 'the avatar is not square'
request 200 "$url/avatar?maxheight=64&maxwidth=64"

say 'XMPP clients upload by slots (XEP-0363): here slixmpp, which needs no confirmation and finds the service itself'
upload_by_slot() { # FILE [PURPOSE]: leaves the address in $slot_url
	echo "\$ upload-by-slot.py alice@$domain PASSWORD $xmpp $*"
	slot_url=$("$python" examples/upload-by-slot.py "alice@$domain" "$password" "$xmpp" "$@") || fail 'no upload'
	echo "  -> $slot_url"
}
upload_by_slot "$photo"
request 200 "$slot_url"
cmp "$photo" "$scratch/body" || fail 'other bytes came down'
echo '  the downloaded bytes are the same'
upload_by_slot "$photo" ephemeral
request 200 "$slot_url"
grep -i '^cache-control:' "$scratch/head" | sed 's/^/  a story is gone tomorrow: /'

say 'From a shell: buddycloud-media logs in itself, finds the server, and confirms its own requests'
settings=$scratch/home/.config/buddycloud-media
mkdir -p "$settings"
cat >"$settings/config" <<END
jid = alice@$domain
password.file = password
server = $xmpp
tls.ca = $scratch/prosody.crt
END
echo "$password" >"$settings/password"
sed 's/^/  config: /' "$settings/config"
from_shell() {
	echo "\$ buddycloud-media $*" >&2
	HOME=$scratch/home XDG_CONFIG_HOME='' "$shell_client" "$@" || fail 'buddycloud-media did not do it'
}
asked=$(confirmations)
shell_url=$(from_shell put "alice@$domain" "$photo")
echo "  -> $shell_url"
from_shell ls "alice@$domain" | sed 's/^/  -> /'
from_shell get "$shell_url" -o "$scratch/from-shell.jpg" >/dev/null
cmp "$photo" "$scratch/from-shell.jpg" || fail 'other bytes came down'
from_shell rm "$shell_url"
[ "$(confirmations)" = "$asked" ] || fail "Alice's other client was asked"
echo "  the downloaded bytes are the same, and Alice's other client was not asked"

say 'Other users can not change it'
request 401 -X DELETE "$url/$id"
sign "$mallory"
request 403 -X DELETE -H "Authorization: Basic $token" "$url/$id"

say 'Only members can read a private channel: strangers are refused'
private=$found/diary@$domain
sign "$alice"
request 201 -H "Authorization: Basic $token" -F "data=@$photo;type=image/jpeg" "$private"
secret_id=$(member id)
request 401 "$private/$secret_id"
sign "$mallory"
request 403 -H "Authorization: Basic $token" "$private/$secret_id"
sign "$alice"
request 200 "$private/$secret_id?auth=$token"
cmp "$photo" "$scratch/body" || fail 'other bytes came down'

say 'Alice gives the photo another title, and deletes it'
sign "$alice"
request 200 -H "Authorization: Basic $token" -d 'title=A better title' "$url/$id"
[ "$(member title)" = 'A better title' ] || fail 'the title is another'
sign "$alice"
request 200 -X DELETE -H "Authorization: Basic $token" "$url/$id"
request 404 "$url/$id"

say 'A browser gets a page, and a feed reader a feed'
add_picture() { # TITLE SOURCE: a picture that ffmpeg draws
	picture=$scratch/picture.jpg
	ffmpeg -v error -nostdin -y -f lavfi -i "$2" -frames:v 1 "$picture"
	sign "$alice"
	request 201 -H "Authorization: Basic $token" -F "data=@$picture;type=image/jpeg" -F "title=$1" "$url"
}
add_picture 'Seahorse valley' 'mandelbrot=size=1200x800:start_scale=0.01:start_x=-0.743:start_y=0.1318'
add_picture 'Dusk' 'gradients=size=600x900:seed=7:nb_colors=4'
add_picture 'The set' 'mandelbrot=size=1500x600'
request 200 -H 'Accept: text/html' "$url"
grep -q 'Seahorse valley' "$scratch/body" || fail 'the page lacks a picture'
request 200 "$url?format=atom"
grep -q 'rel="enclosure"' "$scratch/body" || fail 'the feed has no file'

failed=0
if [ -n "${KEEP:-}" ] && [ "$KEEP" != 0 ]; then
	say 'The site runs until you press Ctrl-C here (or send SIGTERM to process '"$$"')'
	cat <<END
HTTP endpoint    $found
XMPP             $xmpp, accounts admin, alice and mallory @$domain, password $password
Public channel   alice@$domain        Private channel   diary@$domain
Logs, storage    $scratch
Upload           curl -H "Authorization: Basic \$(printf '$alice:%s' \$\$ | base64 -w0)" \\
                     -F data=@FILE $found/alice@$domain
Alice's client runs and confirms everything.
END
	say "The gallery, for any browser on this machine (sign in as alice@$domain): $url"
	wait "$media_server" || :
	fail 'the media server ended'
fi

say 'Stopping the media server (SIGTERM)'
kill "$media_server"
rest=''
for pid in $pids; do [ "$pid" = "$media_server" ] || rest="$rest $pid"; done
pids=$rest
wait "$media_server" || fail "it ended with $?"
say 'All of it worked.'
