-- Configuration of Prosody for buddycloud-media-server(8). Append it to prosody.cfg.lua, without the line VirtualHost
-- if that file has the domain already. Then run:
--   prosodyctl reload
--   prosodyctl adduser mediaserver@example.com

VirtualHost "example.com"

-- The component of the media server; the secret is its xmpp.component.secretkey. Prosody accepts components on port
-- 5347 of this machine (component_ports, component_interfaces).
Component "media.example.com"
	component_secret = "a long secret"
	-- With upload.enabled it is the upload service of the domain (XEP-0363). Remove any Component "http_file_share"
	-- then, because clients choose differently if there are several services.

-- The channel service: pubsub, with a node /user/CHANNEL/posts for each channel. As an admin, the account of the media
-- server can create nodes and read the affiliations of every node. No other user can create nodes.
Component "channels.example.com" "pubsub"
	admins = { "mediaserver@example.com" }
