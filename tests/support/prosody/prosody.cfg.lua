-- The XMPP site of the tests and of `make demo`, on loopback ports. What differs from run to run
-- comes from the environment: SITE_DIR (scratch), SITE_MODULES (the folder modules beside this file),
-- C2S_PORT, COMPONENT_PORT, COMPONENT_SECRET, CERTIFICATE, KEY and DIRECT_TLS_PORT where there is TLS, FILE_SHARE_URL and
-- FILE_SHARE_SECRET where Prosody's own upload service is to be there, and COMPONENT_CONFLICT where the media server has
-- several nodes.

run_as_root = true -- in containers the tests are root; Prosody writes to the scratch directory only
pidfile = ENV_SITE_DIR .. "/prosody.pid"
data_path = ENV_SITE_DIR .. "/data"
plugin_paths = { ENV_SITE_MODULES }
log = { { levels = { min = "info" }, to = "file", timestamps = "%F %T", filename = ENV_SITE_DIR .. "/prosody.log" } }

interfaces = { "127.0.0.1" }
c2s_ports = { tonumber(ENV_C2S_PORT) }
component_ports = { tonumber(ENV_COMPONENT_PORT) }
component_interfaces = { "127.0.0.1" }
c2s_direct_tls_ports = { ENV_CERTIFICATE and tonumber(ENV_DIRECT_TLS_PORT) or nil }
modules_disabled = { "s2s" }
modules_enabled = { "roster", "saslauth", "disco", "posix", "ping", "offline", ENV_CERTIFICATE and "tls" }

authentication = "internal_plain" -- so that accounts are one-line files
storage = "internal"

-- The test client speaks no TLS, so it is never demanded here; the media server's own
-- xmpp.connection.securitymode is what the tests of STARTTLS are about.
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
certificates = ENV_SITE_DIR
if ENV_CERTIFICATE then
	ssl = { certificate = ENV_CERTIFICATE, key = ENV_KEY }
end

VirtualHost "example.org"

Component "media.example.org"
	component_secret = ENV_COMPONENT_SECRET
	component_conflict_resolve = ENV_COMPONENT_CONFLICT

-- Prosody's own upload service, whose files somebody else keeps.
if ENV_FILE_SHARE_URL then
	Component "upload.example.org" "http_file_share"
		http_file_share_base_url = ENV_FILE_SHARE_URL
		http_file_share_secret = ENV_FILE_SHARE_SECRET
end

-- Nobody connects to it: a discovery has to get over its errors.
Component "absent.example.org"
	component_secret = ENV_COMPONENT_SECRET

-- The media server may read each node's configuration and affiliations; admin makes the nodes.
Component "channels.example.org" "pubsub"
	modules_enabled = { "channels" }
	admins = { "mediaserver@example.org", "admin@example.org" }

-- A domain of channels that belong to no user: it is its own channel service, and nobody else's.
Component "topics.example.org" "pubsub"
	disco_hidden = true
	modules_enabled = { "channels" }
	admins = { "mediaserver@example.org", "admin@example.org" }

-- The same with a name that has an ASCII form (xn--) in the DNS.
Component "kanäle.example.org" "pubsub"
	disco_hidden = true
	modules_enabled = { "channels" }
	admins = { "mediaserver@example.org", "admin@example.org" }

-- A pubsub service as Prosody has it, as communities of Movim use one.
Component "communities.example.org" "pubsub"
	disco_hidden = true
	admins = { "mediaserver@example.org", "admin@example.org" }

-- A domain that the media server does not serve, on the same XMPP server.
VirtualHost "elsewhere.test"

-- The shipped example, with domains of its own.
Include "../../../examples/prosody.cfg.lua"
