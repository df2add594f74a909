-- What buddycloud-media-server(8) needs of Prosody. Append it to prosody.cfg.lua, without the line VirtualHost if that
-- domain is there already; then:
--   prosodyctl reload
--   prosodyctl adduser mediaserver@example.com

VirtualHost "example.com"

-- The media server itself; the secret is its xmpp.component.secretkey. Prosody takes components on port 5347 of
-- this machine (component_ports, component_interfaces).
Component "media.example.com"
	component_secret = "a long secret"
	-- With upload.enabled it is the upload service of the domain (XEP-0363): have no Component "http_file_share"
	-- beside it, for clients choose differently among several.

-- The channels: pubsub, with a node /user/CHANNEL/posts for each. As an admin, the account of the media server
-- may make nodes, and read the affiliations of every node. Nobody else may make one.
Component "channels.example.com" "pubsub"
	admins = { "mediaserver@example.com" }
