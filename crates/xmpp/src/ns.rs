//! Namespace names. Each constant is exactly the string on the wire.

/// XML streams (RFC 6120 §4.8.1).
pub const STREAMS: &str = "http://etherx.jabber.org/streams";
/// Content of client-to-server streams (RFC 6120 §4.8.2).
pub const CLIENT: &str = "jabber:client";
/// Content of server-to-server streams (RFC 6120 §4.8.2).
pub const SERVER: &str = "jabber:server";
/// Content of component streams (XEP-0114).
pub const COMPONENT: &str = "jabber:component:accept";
/// Framing over WebSocket (RFC 7395 §3.3.2).
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
/// STARTTLS (RFC 6120 §5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 §6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Extensible SASL profile (XEP-0388).
pub const SASL2: &str = "urn:xmpp:sasl:2";
/// Channel binding capabilities (XEP-0440).
pub const SASL_CB: &str = "urn:xmpp:sasl-cb:0";
/// Resource binding (RFC 6120 §7).
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Resource binding 2 (XEP-0386).
pub const BIND2: &str = "urn:xmpp:bind:0";
/// Session establishment, kept for old clients (RFC 3921 §3; RFC 6121 §1.4).
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// Stream error conditions (RFC 6120 §4.9.3).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Stanza error conditions (RFC 6120 §8.3.3).
pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// The namespace of the reserved prefix `xml`.
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace of the reserved prefix `xmlns`.
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// Rosters (RFC 6121 §2).
pub const ROSTER: &str = "jabber:iq:roster";
/// Roster versioning, the stream feature (RFC 6121 §2.6.1).
pub const ROSTERVER: &str = "urn:xmpp:features:rosterver";
/// Subscription pre-approval, the stream feature (RFC 6121 §3.4.1).
pub const PREAPPROVAL: &str = "urn:xmpp:features:pre-approval";
/// Data forms (XEP-0004).
pub const DATA: &str = "jabber:x:data";
/// Last activity (XEP-0012).
pub const LAST: &str = "jabber:iq:last";
/// Service discovery, what an entity is (XEP-0030).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// Service discovery, what an entity holds (XEP-0030).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Extended stanza addressing (XEP-0033).
pub const ADDRESS: &str = "http://jabber.org/protocol/address";
/// Multi-user chat (XEP-0045).
pub const MUC: &str = "http://jabber.org/protocol/muc";
/// Multi-user chat, what occupants see (XEP-0045).
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// Private XML storage (XEP-0049).
pub const PRIVATE: &str = "jabber:iq:private";
/// Ad-hoc commands (XEP-0050).
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// vcard-temp (XEP-0054).
pub const VCARD: &str = "vcard-temp";
/// Result set management (XEP-0059).
pub const RSM: &str = "http://jabber.org/protocol/rsm";
/// Publish-subscribe (XEP-0060).
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// Publish-subscribe event notifications (XEP-0060).
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// Publish-subscribe owner's use cases (XEP-0060).
pub const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// In-band registration (XEP-0077).
pub const REGISTER: &str = "jabber:iq:register";
/// In-band registration, the stream feature (XEP-0077 §8).
pub const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
/// Chat states (XEP-0085).
pub const CHATSTATES: &str = "http://jabber.org/protocol/chatstates";
/// Software version (XEP-0092).
pub const VERSION: &str = "jabber:iq:version";
/// Entity capabilities (XEP-0115).
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// Administration by ad-hoc commands (XEP-0133).
pub const ADMIN: &str = "http://jabber.org/protocol/admin";
/// vCard-based avatars (XEP-0153).
pub const VCARD_UPDATE: &str = "vcard-temp:x:update";
/// Contact addresses, the `FORM_TYPE` (XEP-0157).
pub const SERVERINFO: &str = "http://jabber.org/network/serverinfo";
/// Delivery receipts (XEP-0184).
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// Blocking command (XEP-0191).
pub const BLOCKING: &str = "urn:xmpp:blocking";
/// Blocking command, its error condition (XEP-0191 §3.6).
pub const BLOCKING_ERRORS: &str = "urn:xmpp:blocking:errors";
/// Stream management (XEP-0198).
pub const SM: &str = "urn:xmpp:sm:3";
/// Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// Entity time (XEP-0202).
pub const TIME: &str = "urn:xmpp:time";
/// Delayed delivery (XEP-0203).
pub const DELAY: &str = "urn:xmpp:delay";
/// External service discovery (XEP-0215).
pub const EXTDISCO: &str = "urn:xmpp:extdisco:2";
/// Server dialback (XEP-0220).
pub const DIALBACK: &str = "jabber:server:dialback";
/// Server dialback, the stream feature (XEP-0220 §2.4).
pub const DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
/// Attention (XEP-0224).
pub const ATTENTION: &str = "urn:xmpp:attention:0";
/// Message carbons (XEP-0280).
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// Bidirectional server-to-server connections, the element (XEP-0288).
pub const BIDI: &str = "urn:xmpp:bidi";
/// Bidirectional server-to-server connections, the stream feature (XEP-0288).
pub const BIDI_FEATURE: &str = "urn:xmpp:features:bidi";
/// Stanza forwarding (XEP-0297).
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// Last message correction (XEP-0308).
pub const CORRECT: &str = "urn:xmpp:message-correct:0";
/// Message archive management (XEP-0313).
pub const MAM: &str = "urn:xmpp:mam:2";
/// Chat markers (XEP-0333).
pub const CHAT_MARKERS: &str = "urn:xmpp:chat-markers:0";
/// Message processing hints (XEP-0334).
pub const HINTS: &str = "urn:xmpp:hints";
/// Client state indication (XEP-0352).
pub const CSI: &str = "urn:xmpp:csi:0";
/// Jingle message initiation (XEP-0353).
pub const JINGLE_MESSAGE: &str = "urn:xmpp:jingle-message:0";
/// Push notifications (XEP-0357).
pub const PUSH: &str = "urn:xmpp:push:0";
/// Unique and stable stanza ids (XEP-0359).
pub const SID: &str = "urn:xmpp:sid:0";
/// Direct invitations to rooms (XEP-0249).
pub const CONFERENCE: &str = "jabber:x:conference";
/// Explicit message encryption (XEP-0380).
pub const EME: &str = "urn:xmpp:eme:0";
/// OMEMO as deployed (XEP-0384 0.3).
pub const OMEMO_AXOLOTL: &str = "eu.siacs.conversations.axolotl";
/// OMEMO (XEP-0384).
pub const OMEMO: &str = "urn:xmpp:omemo:2";
/// OpenPGP for XMPP (XEP-0373).
pub const OPENPGP: &str = "urn:xmpp:openpgp:0";
/// OpenPGP, the old way (XEP-0027).
pub const OPENPGP_LEGACY: &str = "jabber:x:encrypted";
/// Occupant ids (XEP-0421).
pub const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
/// Message retraction (XEP-0424).
pub const RETRACT: &str = "urn:xmpp:message-retract:1";
/// Message reactions (XEP-0444).
pub const REACTIONS: &str = "urn:xmpp:reactions:0";
/// Stream limits (XEP-0478).
pub const STREAM_LIMITS: &str = "urn:xmpp:stream-limits:0";
/// SCRAM downgrade protection and upgrade tasks (XEP-0480).
pub const SCRAM_UPGRADE: &str = "urn:xmpp:scram-upgrade:0";
/// Reports of unwanted messages (XEP-0377).
pub const REPORTING: &str = "urn:xmpp:reporting:1";

/// Whether `ns` is the content namespace of a kind of stream, the one that stanzas are in (RFC 6120 §4.8.2, XEP-0114).
pub fn is_content(ns: &str) -> bool {
    ns == CLIENT || ns == SERVER || ns == COMPONENT
}
