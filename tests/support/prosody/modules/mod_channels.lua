-- Makes a stock pubsub component look like a buddycloud channel service: its identity, and the
-- affiliation between publisher and owner.

local service = module:depends("pubsub").get_service();

module:add_identity("pubsub", "channels", "Channels");

service.config.capabilities.moderator = service.config.capabilities.publisher;
