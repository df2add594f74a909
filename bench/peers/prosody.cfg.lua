-- Prosody with mod_http_file_share, without limits that uploads could meet. SITE_DIR, C2S_PORT and HTTP_PORT
-- come from the environment.

run_as_root = true
pidfile = ENV_SITE_DIR .. "/prosody.pid"
data_path = ENV_SITE_DIR .. "/data"
log = { { levels = { min = "info" }, to = "file", filename = ENV_SITE_DIR .. "/prosody.log" } }

interfaces = { "127.0.0.1" }
c2s_ports = { tonumber(ENV_C2S_PORT) }
c2s_direct_tls_ports = {}
http_ports = { tonumber(ENV_HTTP_PORT) }
http_interfaces = { "127.0.0.1" }
https_ports = {}
modules_disabled = { "s2s" }
modules_enabled = { "saslauth", "disco", "posix", "ping" }

authentication = "internal_plain"
storage = "internal"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true

VirtualHost "example.org"

Component "upload.example.org" "http_file_share"
	http_host = "localhost"
	storage_archive_item_limit = 100 * 1000 * 1000
	http_file_share_size_limit = 1024 * 1024 * 1024
	http_file_share_daily_quota = 1024 * 1024 * 1024 * 1024
	http_max_content_size = 1024 * 1024 * 1024
