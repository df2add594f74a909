//! Every hard limit that is not a setting, with its unit and its reason.

use std::num::NonZeroU64;
use std::time::Duration;

// HTTP: connections, bodies, worker threads

/// Bytes of a request head (request line and fields). Longer: 431. As nginx's default for large heads.
pub const HEAD_BYTES: usize = 16 * 1024;
/// Header fields of a request. More: 431. Browsers send about 20.
pub const HEAD_FIELDS: usize = 100;
/// Time from the first byte of a head (or the accept) to its last. Later: 408 or a silent close.
pub const HEAD_TIME: Duration = Duration::from_secs(10);
/// Time for a TLS handshake, from the accept to its end.
pub const TLS_HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long an idle kept-alive connection is held.
pub const KEEP_ALIVE_TIME: Duration = Duration::from_secs(30);
/// How long a body or a response may make no progress.
pub const TRANSFER_IDLE_TIME: Duration = Duration::from_secs(30);
/// Bytes per second that a transfer must reach on average after its grace time; slower costs it the connection.
pub const TRANSFER_MIN_RATE: u64 = 1024;
/// Grace time of a new transfer, without a minimum rate.
pub const TRANSFER_GRACE_TIME: Duration = Duration::from_secs(30);
/// After a response that leaves a body unread: how long, and for how many bytes, we read on, so that the
/// client sees the response and not a reset (RFC 9112 section 9.6).
pub const LINGER_TIME: Duration = Duration::from_secs(2);
/// See [`LINGER_TIME`].
pub const LINGER_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes of a response that are sent for one event, before other connections have their turn.
pub const SEND_STEP: u64 = 1024 * 1024;
/// Bytes of a response that the kernel keeps for a client beyond what is on its way to it. The kernel would take up to 4 MB
/// for each client that reads slowly; a thousand of them would leave no memory for the connections of others. A socket
/// counts as writable while it keeps less than half of this, and only then a pipelined request is served.
pub const UNSENT_BYTES: u32 = 512 * 1024;
/// Uploads that one client network may have at a time, even if that is more than a quarter of all.
pub const UPLOADS_EACH: usize = 8;
/// How long a new upload waits for a permit if none is free.
pub const UPLOAD_WAIT: Duration = Duration::from_secs(2);
/// How long an upload is left alone, and over which time its rate is taken, before it may have to give way to another.
pub const SLOW_UPLOAD_TIME: Duration = Duration::from_secs(5);
/// Bytes per second below which an upload may have to give way to another: a bad mobile network is faster.
pub const SLOW_UPLOAD_RATE: u64 = 64 * 1024;
/// Burst of `http.rate.limit`: a browser requests a page full of pictures at once.
pub const RATE_BURST: Duration = Duration::from_secs(10);
/// Client addresses whose rates are known, 5 MB of them; those beyond share one.
pub const RATE_ADDRESSES: usize = 65_536;
/// How often addresses that have been quiet are forgotten, when there is no room for another.
pub const RATE_SWEEP: Duration = Duration::from_secs(1);
/// Pause after the process ran out of file descriptors or memory for a connection, before the next accept.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Time between two log lines that file descriptors ran out.
pub const ACCEPT_REMINDER: Duration = Duration::from_secs(60);
/// Connections the kernel may hold for us before we accept them.
pub const LISTEN_BACKLOG: i32 = 1024;
/// Connections accepted for one event, before others have their turn.
pub const ACCEPTS: usize = 16;
/// Requests that may wait for a thread of their own. Beyond: 503.
pub const DEFERRED_REQUESTS: usize = 4096;
/// Minimum number of threads that handle events: one may be busy with a long event while the other handles new ones.
pub const TURNS_MIN: usize = 2;
/// Minimum of `http.threads`.
pub const WORKERS_MIN: usize = 3;
/// Idle worker threads that are kept.
pub const WORKERS_IDLE: usize = 1;
/// How long any other idle worker thread is kept.
pub const WORKER_IDLE: Duration = Duration::from_secs(10);
/// Events that a worker thread takes in hand at a time. Those behind the first wait for it, or for another thread.
pub const TURN_EVENTS: usize = 16;
/// How long all turns may be at one event each before another one is lent.
pub const STUCK_TIME: Duration = Duration::from_millis(5);
/// Checks in a row that found a free turn, after which the clock thread checks the turns only when it is notified.
pub const CALM_LOOKS: u32 = 20;
/// How long a server that ends waits for the threads that handle events.
pub const TURNS_END: Duration = Duration::from_secs(1);
/// Stack of the clock thread, in bytes.
pub const CLOCK_STACK: usize = 128 * 1024;
/// Stack of a worker thread, in bytes.
pub const WORKER_STACK: usize = 512 * 1024;
/// Bytes of a chunk-size line, extensions included (RFC 9112 section 7.1).
pub const CHUNK_LINE_BYTES: usize = 1024;
/// Bytes of a chunked body's trailer section; it is read and dropped.
pub const TRAILER_BYTES: usize = 8 * 1024;

// Log

/// Access lines, and other lines, that may wait to be written to the log. Those beyond are dropped and counted.
pub const LOG_LINES: [usize; 2] = [4096, 1024];
/// Lines that one place in the code may log in [`LOG_REPEAT_TIME`]: enough to find their cause.
pub const LOG_REPEATS: u32 = 20;
/// The time in which [`LOG_REPEATS`] lines may be logged.
pub const LOG_REPEAT_TIME: Duration = Duration::from_secs(60);
/// How long the log's thread lets more access lines come before it writes the first.
pub const LOG_GATHER: Duration = Duration::from_millis(5);
/// How long the end of the process waits for the log to be written.
pub const LOG_END: Duration = Duration::from_secs(1);
/// Stack of the log's thread, in bytes.
pub const LOG_STACK: usize = 64 * 1024;

// Forms and their texts, names and types of files

/// Parts of a multipart form, or fields of an url-encoded one.
pub const FORM_PARTS: usize = 64;
/// Bytes of one part's header section.
pub const PART_HEAD_BYTES: usize = 8 * 1024;
/// Bytes of a form field's name.
pub const FIELD_NAME_BYTES: usize = 256;
/// Bytes of a title: a line under a picture. Titles of older rows may be longer.
pub const TITLE_BYTES: usize = 1024;
/// Bytes of a description: a few pages. Descriptions of older rows may be longer.
pub const DESCRIPTION_BYTES: usize = 16 * 1024;
/// Bytes of any other text field, such as the file name.
pub const FIELD_BYTES: usize = 64 * 1024;
/// Bytes of a form besides its data; a larger body is refused unread.
pub const FORM_OVERHEAD_BYTES: u64 = 512 * 1024;
/// Bytes of a form's data that go on to memory or a file at a time: in whole pages, and as many as a file system likes to
/// take at once.
pub const FORM_STEP: usize = 64 * 1024;
/// Bytes of a body that a form's reader holds at once: a step, and a part's head or a delimiter behind it.
pub const FORM_WINDOW: usize = FORM_STEP + 2 * PART_HEAD_BYTES;
/// Header fields of one part; senders know four (RFC 7578 section 4).
pub const PART_FIELDS: usize = 16;
/// Bytes of a multipart boundary (RFC 2046 section 5.1.1).
pub const BOUNDARY_BYTES: usize = 70;
/// Bytes of white space after a boundary, in its line; with more it is not a boundary.
pub const BOUNDARY_PADDING: usize = 128;
/// Bytes of a stored file name.
pub const FILE_NAME_BYTES: usize = 255;
/// Bytes at the beginning of a file that are read to detect its type.
pub const SNIFF_BYTES: usize = 512;
/// Bytes at the beginning of a text that are read to detect UTF-8, for each response.
pub const TEXT_BYTES: usize = 16 * 1024;
/// Bytes of an extension that a file name keeps when it is shortened; a longer one does not count as an extension.
pub const EXTENSION_BYTES: usize = 32;
/// Bytes of a stored media type.
pub const MIME_TYPE_BYTES: usize = 255;

// Addresses, ids, lists, and the page of a channel

/// Bytes of a channel's name: it is a directory's name on disk (NAME_MAX).
pub const CHANNEL_BYTES: usize = 255;
/// Bytes of a JID's local part, domain or resource (RFC 7622 section 3).
pub const JID_PART_BYTES: usize = 1023;
/// Characters of a media id that we accept; ours have [`MEDIA_ID_NEW`].
pub const MEDIA_ID_CHARS: usize = 64;
/// Characters of the ids that we make, each of 62 values: 119 bits, as in the original.
pub const MEDIA_ID_NEW: usize = 20;
/// Bytes of the token `JID:transaction` before it is decoded.
pub const TOKEN_BYTES: usize = 4096;
/// Bytes of a transaction id.
pub const TRANSACTION_ID_BYTES: usize = 255;
/// How long caches may keep an avatar without asking: its address does not change with the avatar.
pub const AVATAR_MAX_AGE: Duration = Duration::from_secs(300);
/// Entries of a list without `max`, or with a larger one.
pub const LIST_ENTRIES: usize = 1000;
/// Bytes of the texts in a page of a list. A page with more ends sooner, but has at least one entry: so a list takes about
/// a megabyte of memory, whatever its texts are.
pub const LIST_TEXT_BYTES: usize = 256 * 1024;
/// Entries of the page and of the feed without `max`: with these, page, style and script take less than 40 KiB.
pub const PAGE_ENTRIES: usize = 30;
/// Previews that the page loads at once: they fill the first screen. The others are loaded when they come near.
pub const PAGE_EAGER: usize = 6;
/// Random bytes in the nonce of a page.
pub const PAGE_NONCE_BYTES: usize = 16;
/// How long caches keep the style and the script of the page; their addresses change with their content.
pub const PAGE_FILE_MAX_AGE: Duration = Duration::from_secs(86_400);

// XMPP: stanzas, links, login

/// Bytes of one stanza from the XMPP server. One with more, or beyond the five limits that follow, is dropped: anybody
/// who may write to us may send it, and must not be able to end the stream by that. Servers let 256 or 512 KiB pass.
pub const STANZA_BYTES: usize = 1024 * 1024;
/// Nested elements of a stanza: the parser walks through them for each element.
pub const STANZA_DEPTH: usize = 32;
/// Elements of a stanza.
pub const STANZA_ELEMENTS: usize = 20_000;
/// Attributes of one element, declarations of namespaces among them.
pub const ELEMENT_ATTRIBUTES: usize = 64;
/// Bytes of namespace declarations that a stanza may have copied: at each element the parser copies those in scope, and
/// each element holds its own namespace, so that a long one with many elements in it takes their product.
pub const STANZA_COPIES: usize = 16 * 1024 * 1024;
/// Cost of copying a declaration in addition to its bytes, in bytes.
pub const DECLARATION_BYTES: usize = 64;
/// Bytes of a stanza that is dropped. Larger: the stream is closed and opened again; no server lets such a stanza pass.
pub const STANZA_SKIP_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of an element's or attribute's qualified name in a stanza; see [`STANZA_BYTES`].
pub const XML_NAME_BYTES: usize = 256;
/// Bytes before the end of a stream header. Real ones have about 300; a DTD would have to fit in here, too.
pub const STREAM_HEADER_BYTES: usize = 4096;
/// Bytes of a text of the server's that go into a message for the operator.
pub const PEER_TEXT_BYTES: usize = 200;
/// Bytes of one read from an XMPP socket.
pub const XMPP_READ_BYTES: usize = 16 * 1024;
/// Reads from one link before the other one has its turn.
pub const XMPP_READS: usize = 16;
/// Bytes that may wait to be written to an XMPP socket. Beyond: the link counts as broken.
pub const XMPP_OUTBOUND_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that wait beyond which replies to strangers are omitted: they must not break the link.
pub const XMPP_ANSWER_BYTES: usize = 1024 * 1024;
/// Time for resolving, connecting and logging in to the XMPP server.
pub const XMPP_LOGIN_TIME: Duration = Duration::from_secs(20);
/// Time without a byte from the server after which we ping it; as much again without answer and the link is broken.
pub const XMPP_KEEPALIVE: Duration = Duration::from_secs(30);
/// First pause before a reconnect; it doubles each time, with jitter.
pub const XMPP_BACKOFF_MIN: Duration = Duration::from_millis(500);
/// Longest time from one attempt to connect to the next: a server that is back is used soon.
pub const XMPP_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Longest attempt to connect to one address: a host that is down does not answer.
pub const XMPP_CONNECT_TIME: Duration = Duration::from_secs(5);
/// Time between two checks of the gate's deadlines by the XMPP thread, while a request waits.
pub const XMPP_TICK: Duration = Duration::from_millis(100);
/// Characters of the reason why a link is down in /healthz: a sentence or two.
pub const LINK_FAILURE_CHARS: usize = 300;
/// How often the log repeats that a link is still down.
pub const XMPP_REMINDER: Duration = Duration::from_secs(60);
/// How long a closing link waits for the server to close, too (RFC 6120 section 4.4).
pub const XMPP_CLOSE_TIME: Duration = Duration::from_secs(1);
/// SCRAM iterations a server may ask for: fewer are unsafe, more are an attack on our time (RFC 5802).
pub const SCRAM_ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;
/// Beginning of the resource of the client's XMPP session.
pub const XMPP_RESOURCE: &str = "media-server";

// XMPP: channel services and affiliations

/// Time after which the log names an unchanged channel service of a domain again.
pub const REPORT_REMINDER: Duration = Duration::from_secs(86_400);
/// Channels whose affiliations `check` asks a service for: enough to see one that the account may not read.
pub const CHECKED_CHANNELS: usize = 5;
/// Items of a domain whose identities are queried.
pub const DISCOVERY_ITEMS: usize = 1000;
/// Items of other domains whose identities are queried, over the network.
pub const DISCOVERY_FOREIGN_ITEMS: usize = 50;
/// Items that are queried at a time.
pub const DISCOVERY_WINDOW: usize = 50;
/// Pages of one affiliation list that are read (XEP-0059).
pub const AFFILIATION_PAGES: usize = 200;
/// Requests that wait for one and the same lookup.
pub const LOOKUP_WAITERS: usize = 1024;
/// Entries of each cache of the gate.
pub const CACHE_ENTRIES: usize = 10_000;
/// How long a failed lookup is remembered, unless `xmpp.cache.ttl` is shorter.
pub const FAILURE_TTL: Duration = Duration::from_secs(5);
/// Time between two log lines that a channel service refuses our account.
pub const RIGHTS_WARNING: Duration = Duration::from_secs(60);
/// How long `/healthz` reports that a channel service refused our account.
pub const RIGHTS_REFUSED: Duration = Duration::from_secs(600);

// XMPP: requests to the component, commands (XEP-0050) and texts

/// Requests to the component that one bare JID may send at once: a person who sends an album makes 20.
pub const COMPONENT_BURST: u32 = 20;
/// After that, the time from one request to the next: a client on a fast network uploads small files as fast.
pub const COMPONENT_TOKEN: Duration = Duration::from_millis(100);
/// Bare JIDs whose rates are tracked, 1 MB of them; beyond, the least recent ones are forgotten.
pub const COMPONENT_RATES: usize = 10_000;
/// Divisor of the HTTP server's worker threads: this share may be busy with requests to the component.
pub const COMPONENT_SHARE: usize = 8;
/// Requests to the component that may wait for such a thread. Beyond: `resource-constraint`.
pub const COMPONENT_JOBS: usize = 256;
/// How long a session of a command (XEP-0050) and a list of files that came as a text are known after their last use.
pub const COMMAND_SESSION_TIME: Duration = Duration::from_secs(600);
/// Bytes of a session's id, and of a node, that are sent back with an error; ours have up to 32.
pub const COMMAND_SESSION_ID: usize = 64;
/// Sessions of commands of all users, 1 KB each, and up to 10 KB where somebody turns 100 pages. Beyond, the one that ends
/// first goes.
pub const COMMAND_SESSIONS: usize = 4096;
/// Sessions of commands of one user, whichever clients they have. Beyond, the oldest ends.
pub const COMMAND_SESSIONS_EACH: usize = 8;
/// Files on a page of a command, and values of one field of a form that is read.
pub const COMMAND_FILES: usize = 100;
/// Pages of one session that the user can go back.
pub const COMMAND_PAGES: usize = 100;
/// Fields of a form that is read; ours have up to 3.
pub const FORM_FIELDS: usize = 16;
/// How long one request deletes the files of a user. Clients wait about a minute for a reply.
pub const DELETE_ALL_TIME: Duration = Duration::from_secs(20);
/// Number of the largest users in an administrator's list.
pub const LARGEST_USERS: usize = 10;
/// Files of a list that is sent as a text.
pub const TEXT_FILES: usize = 10;
/// Clients that have such a list, 1 KB each. Beyond, the list of the oldest is forgotten.
pub const TEXT_FILE_LISTS: usize = 4096;
/// A number that comes so soon after a new list may have been meant for the list before.
pub const TEXT_LIST_FRESH: Duration = Duration::from_secs(5);
/// Commands that one bare JID may send as texts at once: a person who deletes one file after the other.
pub const TEXT_BURST: u32 = 20;
/// After that, the time from one such text to the next. Each has a reply, and another service may reply to that.
pub const TEXT_TOKEN: Duration = Duration::from_secs(3);

// Prompts (XEP-0070)

/// Longest wait for a confirmation or a reply, whatever `xmpp.reply.timeout` says: no HTTP client waits longer.
pub const REPLY_TIME: Duration = Duration::from_secs(3600);
/// How long after the user's deadline a node waits for the decision of the node that asks the user: a decision at the
/// deadline takes some time through the database.
pub const DECISION_GRACE: Duration = Duration::from_secs(5);
/// How long prompts of other nodes wait for a component's stream that is down. While a node takes the stream over, the XMPP
/// server may still have the old one.
pub const STREAM_PATIENCE: Duration = Duration::from_secs(5);
/// Prompts that one statement stores, each up to about 20 KB.
pub const PROMPTS_STORED: usize = 64;
/// Prompts of other nodes that are read at once.
pub const PROMPTS_READ: usize = 256;
/// How often prompts are removed that no node has removed.
pub const PROMPTS_SWEEP: Duration = Duration::from_secs(60);
/// The share of `xmpp.pending.per.user.max` that one client network may have: 3 of 8. At least one prompt.
pub const PROMPTS_OF_NETWORK: (usize, usize) = (3, 8);
/// The share that is kept for networks for which the user has confirmed a request: 2 of 8.
pub const PROMPTS_KEPT: (usize, usize) = (2, 8);
/// Prompts that expire in a row before the user is asked only once in [`RARE_PROMPT`] for unconfirmed networks.
pub const UNANSWERED_PROMPTS: u32 = 5;
/// See [`UNANSWERED_PROMPTS`].
pub const RARE_PROMPT: Duration = Duration::from_secs(600);
/// How long, after a message of the user, the kept share is open to networks that have no prompt pending.
pub const PLACES_OPEN: Duration = Duration::from_secs(120);
/// How long a network counts as one for which the user has confirmed a request.
pub const NETWORK_CONFIRMED: Duration = Duration::from_secs(30 * 24 * 3600);
/// Networks of one user that count as confirmed.
pub const NETWORKS_CONFIRMED: usize = 8;
/// Users whose networks, unanswered prompts and ended prompts are known: up to 7 KB each, but few have that much.
pub const PEOPLE: usize = 8192;
/// Ended prompts of one user that a reply may name.
pub const PROMPTS_ENDED: usize = 16;
/// How long after its beginning a reply may name a prompt.
pub const PROMPT_NAMED: Duration = Duration::from_secs(600);
/// A yes that comes so soon after a prompt may have been meant for another one.
pub const PROMPT_FRESH: Duration = Duration::from_secs(5);
/// How long after the end of a prompt such a yes may have been meant for it.
pub const PROMPT_RECENT: Duration = Duration::from_secs(60);
/// Entries of a list of prompts.
pub const LISTED_PROMPTS: usize = 20;
/// The numbers of lists begin anew beyond this one: texts hold three digits.
pub const LIST_NUMBERS: u32 = 900;
/// Lists that one user is sent in [`TEXT_PAUSE`].
pub const LISTS: u32 = 10;
/// Clients of one user that have lists of their own.
pub const LISTS_KEPT: usize = 4;
/// Time before a user gets the same explanation again: how to reply, or that encrypted texts are not read.
pub const TEXT_PAUSE: Duration = Duration::from_secs(60);
/// Such texts to all users together in that time. Services that reply to each other must not make more of them.
pub const TEXTS: u32 = 1000;
/// Characters of a text that are read to see whether it confirms or denies.
pub const REPLY_CHARS: usize = 64;
/// Characters of a transaction id that may confirm a request by itself.
pub const DISTINCT_ID_CHARS: usize = 8;
/// Characters of a channel's address, of a transaction id or of a web page's host that people are shown.
pub const SHOWN_CHARS: usize = 64;

// Database, quotas, and rows kept for readers

/// Wait for a database connection from the pool, and for connecting.
pub const DATABASE_WAIT: Duration = Duration::from_secs(5);
/// Connections to the database, besides those of the pool, that were given up and still hang: a proxy may hold them for ever.
/// Beyond them none is made.
pub const DATABASE_HANGING: usize = 64;
/// Longest run of one statement.
pub const DATABASE_STATEMENT: Duration = Duration::from_secs(15);
/// Longest wait of a statement for another one's lock.
pub const DATABASE_LOCK: Duration = Duration::from_secs(5);
/// Time for an idle connection to show that it still works, before it is used.
pub const DATABASE_PING: Duration = Duration::from_secs(1);
/// How long we wait for the database to do an operation. Above [`DATABASE_STATEMENT`], so that only a server
/// that hangs, and not one that is slow, costs the connection.
pub const DATABASE_ANSWER: Duration = Duration::from_secs(20);
/// Time without a sign of life on a connection after which the kernel asks the database's, or gives it up.
pub const DATABASE_KEEPALIVE: Duration = Duration::from_secs(30);
/// Connections to the embedded database: one writes at a time, the others read.
pub const SQLITE_CONNECTIONS: u32 = 4;
/// Bytes that each media takes of a quota besides those of its file and its texts, so that media of no bytes have an end,
/// too. Its row with the entries of its indexes is 0.4 KB (6 KB with the longest of addresses), its inode and the end of
/// its file's last block 0.3 to 4.3 KB.
pub const MEDIA_COST: u64 = 4096;
/// How long a reader may see the row of a media as it was before another process changed it in the same database.
pub const ROW_TTL: Duration = Duration::from_secs(1);
/// How long an older row is still served while the database does not answer.
pub const ROW_GRACE: Duration = Duration::from_secs(30);
/// How long a reader waits for an older row to be read again, before it is served the older one.
pub const ROW_PATIENCE: Duration = Duration::from_millis(100);
/// Threads that read older rows again, at most; they end when they are idle.
pub const ROW_READERS: usize = 4;
/// Rows of media, rows of avatars, and rows of previews, that are kept for readers.
pub const ROWS: usize = 1024;
/// Bytes of the texts of a row that is kept; of a longer one the texts would cost more than the query.
pub const ROW_BYTES: usize = 1024;
/// Between two looks for a database that could not be reached at the start.
pub const DATABASE_RETRY: Duration = Duration::from_secs(1);
/// Between two looks of a running server for a schema that is newer than it knows: soon after an upgrade that was made
/// beside it, and too seldom to cost anything.
pub const SCHEMA_WATCH: Duration = Duration::from_secs(30);

// Cluster: nodes on one database

/// Time between two beats of the node that holds the component's stream, and between two checks by the others.
pub const CLUSTER_BEAT: Duration = Duration::from_secs(1);
/// How long the stream may be held after a confirmed beat, counted from before it was sent.
pub const CLUSTER_LEASE: Duration = Duration::from_secs(4);
/// How old the beat of a holder is when another node may take the stream. Above [`CLUSTER_LEASE`]: by then the holder has
/// closed it.
pub const CLUSTER_STALE: Duration = Duration::from_secs(5);
/// How far in the future a beat may be: the database's clock is adjusted a little at times.
pub const CLUSTER_AHEAD: Duration = Duration::from_secs(1);
/// Pause after a failure, before the next look at the lock of the stream.
pub const CLUSTER_RETRY: Duration = Duration::from_millis(250);
/// How long the component of the holder may be logged out, while another node reaches the XMPP server, before it gives the
/// stream up: several attempts to connect.
pub const CLUSTER_PATIENCE: Duration = Duration::from_secs(15);
/// How long a node that gave the stream up for that reason leaves it to other nodes. Where no node reaches the component's port,
/// the stream changes hands no more often than this.
pub const CLUSTER_BACK_OFF: Duration = Duration::from_secs(60);
/// Longest run of a statement on the connections of the threads `cluster` and `notices`: a beat must not wait for long.
pub const CLUSTER_STATEMENT: Duration = Duration::from_secs(1);
/// Longest wait of such a statement for another one's lock.
pub const CLUSTER_LOCK: Duration = Duration::from_millis(500);
/// How long these threads wait for PostgreSQL before they give a connection up. Above [`CLUSTER_STATEMENT`].
pub const CLUSTER_ANSWER: Duration = Duration::from_secs(2);
/// Connections of these threads, with those that were given up and still hang.
pub const CLUSTER_CONNECTIONS: usize = 8;
/// Pieces of work that the thread `cluster` takes in hand before it looks at the clock again.
pub const CLUSTER_WORK: usize = 256;
/// How long the stream may have no holder before /healthz reports it: longer than a takeover takes.
pub const CLUSTER_UNHELD: Duration = Duration::from_secs(10);
/// How long a node that stops waits for the end of its stream, and then for the thread `cluster`.
pub const CLUSTER_END: Duration = Duration::from_secs(2);
/// How long the thread `notices` listens before it asks for a sign of life.
pub const NOTICES_PERIOD: Duration = Duration::from_secs(1);
/// Characters of `node.name`, as of a label in the DNS.
pub const NODE_NAME_CHARS: usize = 63;

// S3, and the cache of blocks of its files

/// Bytes of a block, in which files of a store that is far away are fetched and kept.
pub const BLOCK_BYTES: u64 = 8 * 1024 * 1024;
/// Bytes of a block that have come after which the responses that wait for them go on. Each step costs them a call.
pub const BLOCK_STEP: u64 = 256 * 1024;
/// Threads that fetch blocks, at most; they end when they are idle. One stream seldom fills the line to such a store.
pub const BLOCK_FETCHERS: usize = 8;
/// Bytes that the cache of blocks has at least: room for twice what the threads fetch at a time.
pub const CACHE_LEAST_BYTES: u64 = 16 * BLOCK_BYTES;
/// Blocks that the cache keeps, 80 MB of memory: small files would fill it otherwise. Blocks that are fetched at the moment
/// may come on top.
pub const CACHE_BLOCKS: usize = 500_000;
/// Blocks that wait to be fetched because a request needs them; each is fetched once for all that wait for it.
pub const BLOCKS_WANTED: usize = 4096;
/// Blocks that wait to be fetched because they will be needed next.
pub const BLOCKS_AHEAD: usize = 64;
/// Threads that wait for a block, to make a preview or to tell the character set of a text.
pub const BLOCK_WAITERS: usize = 32;
/// How long a response that has begun, or a thread, waits for a block, and how long a block may be queued. A line of
/// 1 Mbit/s takes 67 s for one, and [`S3_RECEIVE_RATE`] permits 158 s by default.
pub const BLOCK_TIME: Duration = Duration::from_secs(180);
/// Bytes that are copied at a time of a file whose blocks are put together.
pub const BLOCK_COPY_STEP: usize = 256 * 1024;
/// Blocks for which room is made where the disk is full before the cache is.
pub const ROOM_BLOCKS: u64 = 4;
/// Time between two log lines that a store that is far away still fails.
pub const STORE_REMINDER: Duration = Duration::from_secs(60);
/// Bytes of a file that is stored in an S3 bucket by one request. A larger one goes in parts of this size or more: a
/// connection that breaks then costs a part.
pub const S3_PART_BYTES: u64 = 64 * 1024 * 1024;
/// Maximum number of parts of an object, as S3 defines it.
pub const S3_PARTS: u64 = 10_000;
/// Minimum age of an upload in parts of another process that is aborted. A running upload must not be aborted, and a large
/// file takes hours over a slow network.
pub const S3_UNFINISHED: Duration = Duration::from_secs(24 * 3600);
/// Uploads in parts of this process that are remembered because they could not be aborted. Further ones are aborted when they
/// are older than [`S3_UNFINISHED`].
pub const S3_FAILED: usize = 1024;
/// Bytes that S3 copies by one request.
pub const S3_COPY_BYTES: u64 = 5 * 1024 * 1024 * 1024;
/// A request to the store and its response may take so many times `media.storage.s3.timeout` together, besides the time
/// for their bodies: to connect, to send and to receive. The setting alone bounds no request, since each byte begins it anew.
pub const S3_TIMEOUTS: u32 = 3;
/// Bytes per second that a body from the store must reach, on average. A block then takes two minutes at most, for nobody
/// waits longer than [`BLOCK_TIME`] for it.
pub const S3_RECEIVE_RATE: u64 = 64 * 1024;
/// The same for a body to the store: many uploads may share a slow line. A part then takes an hour at most.
pub const S3_SEND_RATE: u64 = 16 * 1024;
/// Additional time for an operation of the store itself, which copies up to [`S3_COPY_BYTES`] or puts parts together.
pub const S3_WORK_TIME: Duration = Duration::from_secs(900);
/// Attempts at a request to the store, the first included.
pub const S3_ATTEMPTS: u32 = 4;
/// The time since the first attempt after which no other one begins: a thread waits for the store meanwhile.
pub const S3_RETRY_TIME: Duration = Duration::from_secs(10);
/// The pause behind the first attempt; it doubles each time.
pub const S3_PAUSE: Duration = Duration::from_millis(100);
/// Validity of the signature of a request, in seconds. Stores allow clocks to differ by as much.
pub const S3_SIGNED_SECONDS: u64 = 900;
/// Maximum validity of a URL that redirects a client to the store.
pub const S3_PRESIGNED: Duration = Duration::from_secs(60);
/// Bytes of a reply of the store: a page of a list has 1000 keys of 1 KiB at most.
pub const S3_REPLY_BYTES: u64 = 4 * 1024 * 1024;
/// Bytes that are read of a refusal of the store.
pub const S3_REFUSAL_BYTES: u64 = 64 * 1024;
/// Bytes of a small object that is read at once, such as `.store`.
pub const S3_SMALL_BYTES: u64 = 64 * 1024;
/// Idle connections to the store that are kept.
pub const S3_IDLE: usize = 32;
/// Bytes that a connection to the store buffers in each direction.
pub const S3_BUFFER_BYTES: usize = 64 * 1024;

// Files, their housekeeping, `fsck` and `move-storage`

/// Bytes of an upload that are written to the disk at a time while the rest still comes.
pub const WRITE_OUT_BYTES: NonZeroU64 = NonZeroU64::new(1024 * 1024).unwrap();
/// Bytes of an upload that its worker hashes before a thread of its own may do the rest.
pub const HASHED_HERE: u64 = 1024 * 1024;
/// Bytes that such a thread is handed at a time; it has one such block while the next one is filled.
pub const HASH_BLOCK: usize = 256 * 1024;
/// How long it waits for the next block: beyond that, the upload is slower than 25 MiB/s, and hashing does not delay it.
pub const HASH_PATIENCE: Duration = Duration::from_millis(10);
/// Age up to which `fsck` ignores a file without a row: a running server may be about to write the row.
pub const FSCK_AGE: Duration = Duration::from_secs(3600);
/// Bytes of the file `.store` that are read: an id, and the name of a process and its host.
pub const STORE_BYTES: usize = 512;
/// Media whose files are checked before a storage root and a database get the same id.
pub const IDENTITY_SAMPLE: usize = 100;
/// Number of files, or rows, that may always go at once; see [`LOSSES_PERCENT`].
pub const LOSSES: u64 = 10;
/// Percentage of all files, or of all rows, that may go at once: a crash leaves fewer, and the wrong database or a file
/// system that is not mounted leaves more.
pub const LOSSES_PERCENT: u64 = 5;
/// Files of one name and channel that are moved to `.lost` on one day.
pub const LOST_NAMES: u32 = 1000;
/// Files that `move-storage` moves at a time: a store that is far away needs several to be busy.
pub const MOVE_THREADS: usize = 4;
/// Bytes of a file that `move-storage` reads at once.
pub const MOVE_BUFFER: usize = 256 * 1024;
/// Time between two progress lines of `move-storage`.
pub const MOVE_NEWS: Duration = Duration::from_secs(10);
/// Files that the housekeeper removes, moves or looks at before another chore may go first.
pub const HOUSEKEEPING_BATCH: usize = 100;
/// Pause of a walk of the store after each batch: a million files take an hour and a half, and delay no requests.
pub const WALK_PAUSE: Duration = Duration::from_millis(500);
/// Time between two walks of the store without a crash.
pub const WALK_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// The time within which a walk by another node takes the place of the daily one: shorter by an hour, so that the node that
/// walked yesterday may be late.
pub const WALK_BY_OTHERS: Duration = Duration::from_secs(23 * 3600);
/// Files without a row that one walk moves, 1 MB of names; the next walk finds the others.
pub const ORPHANS: usize = 10_000;
/// How long a stopping daemon waits for the housekeeper, which loses nothing if it ends in the middle of a chore.
pub const HOUSEKEEPER_END: Duration = Duration::from_secs(1);
/// Rows that `fsck` reads at a time.
pub const FSCK_ROWS: usize = 1000;

// Uploads (XEP-0363) and blocked users

/// Minimum length in bytes of the secret that is shared with an XMPP server which hands out slots: 128 bits.
pub const EXTERNAL_SECRET_BYTES: usize = 16;
/// How long a slot waits for its PUT to begin (XEP-0363 section 5).
pub const SLOT_TIME: Duration = Duration::from_secs(300);
/// How long after its slot was made a PUT may end. The row of an upload that is gone stays as long, so that no slot is used
/// twice.
pub const PUT_TIME: Duration = Duration::from_secs(48 * 3600);
/// Characters of the ids and file names of uploads, each of 62 values: 142 bits of an id. Of the files of one second, 71 bits
/// tell the names without their directories.
pub const UPLOAD_ID_CHARS: usize = 24;
/// Characters of an upload's id that logs show: the whole id gives access to the file.
pub const UPLOAD_ID_SHOWN: usize = 6;
/// Uploads that are emptied or let go in one transaction, so that others need not wait long.
pub const UPLOAD_BATCH: usize = 100;
/// Uploads that expire in one transaction. If there are many uploads, the rows of these are on many pages. SQLite writes a page
/// once for all changes of a transaction, so a large transaction writes fewer pages.
pub const EXPIRY_BATCH: usize = 500;
/// Expiring uploads that are read to find out when there will be room.
pub const EXPIRIES: usize = 10_000;
/// The period of one sum of `upload.quota.day`. The sums of a day are read one by one.
pub const DAY_STEP: Duration = Duration::from_secs(600);
/// Rows of uploads that are kept for readers.
pub const UPLOAD_ROWS: usize = 4096;
/// How long the blocked state of a user is cached: a block by another process takes effect after this time.
pub const BLOCK_TTL: Duration = Duration::from_secs(5);
/// Users in this cache, 1 MB of them.
pub const BLOCKS_KNOWN: usize = 10_000;
/// Slots of one user that wait for their PUT.
pub const SLOTS_PER_USER: usize = 50;
/// Slots of all users of one domain that wait for their PUT.
pub const SLOTS_PER_DOMAIN: usize = 1000;
/// How often expired uploads are looked for; their files are gone within twice this time.
pub const UPLOAD_SWEEP: Duration = Duration::from_secs(10);

// Tokens, tickets and confirmed HEADs

/// Characters of a token.
pub const SIGNED_TOKEN_CHARS: usize = 3 * 1024;
/// How often the keys of tokens are read, so that a node learns of new ones and of those that were revoked.
pub const SECRETS_READ: Duration = Duration::from_secs(5);
/// How often they are read at most for a token of an unknown key: tokens are cheap to make up.
pub const SECRETS_SEARCH: Duration = Duration::from_secs(1);
/// How long before its day a key is made, so that all nodes know it when the first one uses it.
pub const SECRETS_EARLY: Duration = Duration::from_secs(3600);
/// Maximum validity of a ticket.
pub const TICKET_LIFE: Duration = Duration::from_secs(3600);
/// Default validity of a ticket.
pub const TICKET_USUAL: Duration = Duration::from_secs(900);
/// Tickets expire at a multiple of this, so that those of one channel and user are the same for a while.
pub const TICKET_GRID: Duration = Duration::from_secs(300);
/// How long a verified ticket is cached. With [`SECRETS_READ`] it must be less than the 10 seconds of a revocation.
pub const TICKET_TTL: Duration = Duration::from_secs(3);
/// Tickets that are known at a time; each takes some hundred bytes.
pub const TICKETS_VERIFIED: usize = 4096;
/// Bytes of the form that requests a ticket.
pub const TICKET_FORM_BYTES: u64 = 1024;
/// Such forms that are read at a time. Each may be slow, and is not confirmed yet.
pub const TICKET_FORMS: usize = 4;
/// Bytes of the path of a cookie with a ticket: browsers drop cookies whose attributes are longer.
pub const COOKIE_PATH_BYTES: usize = 1000;
/// Bytes of the name and the value of a cookie: browsers drop what is longer than 4096.
pub const COOKIE_BYTES: usize = 4000;
/// How long a confirmed HEAD pays for a GET of the same address.
pub const HEAD_PAYS: Duration = Duration::from_secs(60);
/// Confirmed HEADs that are kept at a time, each with its path and credentials.
pub const HEADS_PAID: usize = 1024;
/// Bytes of the path of such a HEAD.
pub const HEAD_PATH_BYTES: usize = 1024;

// The process, its configuration and its monitoring

/// How long a stopping daemon waits for what runs.
pub const SHUTDOWN_TIME: Duration = Duration::from_secs(20);
/// Open files besides those of connections and transfers: listeners, XMPP, databases, logs.
pub const OTHER_FILES: usize = 128;
/// How long `/healthz` waits for the check of a part; above [`DATABASE_PING`].
pub const PROBE_WAIT: Duration = Duration::from_secs(2);
/// How long the result of a check is reused.
pub const PROBE_AGE: Duration = Duration::from_secs(1);
/// Connections to `admin.bind`, and requests and responses there at a time. A site has a few monitors.
pub const ADMIN_CONNECTIONS: usize = 32;
/// Bytes of a configuration file.
pub const CONFIG_BYTES: u64 = 1024 * 1024;

// Previews

/// Stack of a thread that decodes a picture, in bytes.
pub const PREVIEW_STACK: usize = 4 * 1024 * 1024;
/// Requests of one client network that wait for their preview, so that one can't fill the queue.
pub const PREVIEWS_QUEUED: usize = 2;
/// Pixels of a side of the box that the previews of the page fit into: twice the height of its rows, for sharp screens.
pub const PAGE_PREVIEW_SIDE: u32 = 640;
/// New media that wait for their preview for the page; those of further media are made at the first request.
pub const PREVIEWS_AHEAD: usize = 256;
/// How often such a preview is tried while the queue of previews is full.
pub const PREVIEW_AHEAD_TRIES: u32 = 30;
/// The time between these.
pub const PREVIEW_AHEAD_PAUSE: Duration = Duration::from_secs(1);
/// Bytes of the largest film that is fetched from a store that is far away for its preview: ffmpeg needs all of it. A phone
/// films ten minutes with them.
pub const FILM_FETCH_BYTES: u64 = 512 * 1024 * 1024;
/// Files that are fetched whole at a time for their previews, besides the previews that are made.
pub const PREVIEW_FETCHES: usize = 2;
/// How long a request for a preview waits for the file. The blocks that have come are there for the next request.
pub const PREVIEW_FETCH_TIME: Duration = Duration::from_secs(60);
/// How long a preview counts as just used, so that the row of a popular preview is seldom written.
pub const PREVIEW_USED: Duration = Duration::from_secs(3600);
/// Pixels of a side of a preview of a film whose size is not known.
pub const FILM_SIDE: u32 = 4096;
/// Address space of ffprobe and ffmpeg, in bytes: their libraries alone take 300 MB.
pub const CHILD_MEMORY: u64 = 2 * 1024 * 1024 * 1024;
/// Open files of ffprobe and ffmpeg.
pub const CHILD_FILES: u64 = 32;
/// Processes of the server's user beyond which ffprobe and ffmpeg can't start more; our threads count, too.
pub const CHILD_PROCESSES: u64 = 4096;
/// Bytes of one read of what ffprobe and ffmpeg print.
pub const CHILD_READ_BYTES: usize = 16 * 1024;
/// Bytes that ffprobe may print; of a film about 500 for each stream.
pub const PROBE_BYTES: u64 = 64 * 1024;
/// Bytes of a line in the head of a frame that ffmpeg hands over.
pub const PPM_LINE: usize = 32;
/// Longest plausible playing time, in milliseconds: ten years.
pub const LONGEST_PLAY: u64 = 10 * 366 * 24 * 3600 * 1000;

// Exports, imports and lists of the commands

/// Bytes of a line of an export: three texts of [`FIELD_BYTES`], each byte of which may take six characters of JSON.
pub const TRANSFER_LINE_BYTES: usize = 2 * 1024 * 1024;
/// Rows that an import writes by one statement.
pub const IMPORT_BATCH: usize = 100;
/// Files that a list reads at a time. Without an index by date each time costs a walk through the table.
pub const LISTED_FILES: usize = 10_000;

// The client, `buddycloud-media`

/// `buddycloud-media`: files that are uploaded at a time. More would not fill a line better, and be unfair to others.
pub const CLIENT_UPLOADS: usize = 4;
/// Requests at a time that are each confirmed: the server prompts a user for at most three of one network.
pub const CLIENT_CONFIRMED: usize = 2;
/// Attempts at a request, the first included.
pub const CLIENT_ATTEMPTS: u32 = 5;
/// The pause behind the first attempt; it doubles each time.
pub const CLIENT_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, whatever `Retry-After` says.
pub const CLIENT_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Time to connect to an HTTP server.
pub const CLIENT_CONNECT_TIME: Duration = Duration::from_secs(15);
/// How long an HTTP connection may stand still: longer than a person or a slow disk may take to let a response begin.
pub const CLIENT_HTTP_TIME: Duration = Duration::from_secs(90);
/// Time to connect and log in to one XMPP server, before the next one is tried.
pub const CLIENT_LOGIN_TIME: Duration = Duration::from_secs(10);
/// Time for the reply to an IQ.
pub const CLIENT_REPLY_TIME: Duration = Duration::from_secs(20);
/// Time for one name server to reply.
pub const CLIENT_DNS_TIME: Duration = Duration::from_secs(2);
/// How often each name server is asked.
pub const CLIENT_DNS_ROUNDS: usize = 2;
/// Name servers that are asked, as resolv.conf(5) has it.
pub const CLIENT_DNS_SERVERS: usize = 3;
/// Bytes of a reply over UDP: without EDNS a server sends 512 at most.
pub const CLIENT_DNS_BYTES: usize = 1500;
/// Bytes of the id of a media, on whatever server.
pub const CLIENT_ID_BYTES: usize = 255;
/// Bytes of an upload above which the client waits for the server's consent before it sends them: an upload that is
/// refused shall not be sent in vain, and for a small one that costs more than it saves.
pub const CLIENT_EXPECT_BYTES: u64 = 64 * 1024;
/// Bytes that are read of a refusal, or of the JSON of one media.
pub const CLIENT_TEXT_BYTES: u64 = 64 * 1024;
/// Bytes that are read of one page of a list: 1000 entries of 16 KiB.
pub const CLIENT_LIST_BYTES: u64 = 16 * 1024 * 1024;
/// Bytes of the head of a response. Fewer than [`CLIENT_READ_BYTES`]: a head that fills the buffer would look like a
/// connection that was lost.
pub const CLIENT_HEAD_BYTES: usize = 32 * 1024;
/// Pages of a list: ten million media.
pub const CLIENT_PAGES: usize = 10_000;
/// Bytes that are read at a time from a file or a response, and sent at a time. Fewer than 128 KiB: glibc gives larger
/// buffers pages of their own and begins them 16 bytes into the first. Processors of type AMD Zen 3 copy into such a
/// buffer at a fifth of their speed, which cost a sixth of the rate of an upload.
pub const CLIENT_READ_BYTES: usize = 64 * 1024;
