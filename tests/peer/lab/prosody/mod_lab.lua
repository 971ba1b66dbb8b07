-- For the federation laboratory: tells how each stream was authenticated, and can leave out the client certificate.

local create_context = require "core.certmanager".create_context;

module:hook("s2s-authenticated", function (event)
	local session, host = event.session, event.host;
	local incoming = session.direction == "incoming";
	module:log("info", "LAB %s %s %s %s chain=%s name=%s", incoming and "in" or "out", module.host, host,
		(event.mechanism or "?"):gsub("%W", "-"), session.cert_chain_status or "-", session.cert_identity_status or "-");
end, 100);

if module:get_option_boolean("lab_no_client_certificate", false) then
	-- "port 0" is the certificate manager's way to say: a client, which needs none.
	local context = create_context("lab port 0", "client", { verify = { "peer" }; alpn = "xmpp-server" });
	module:hook("s2sout-created", function (event)
		event.session.ssl_ctx = context;
		event.session.ssl_cfg = {};
	end, 10);
end
