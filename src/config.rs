//! Every setting of the server, and every bound that it keeps.
//!
//! A [`Config`] is what file, environment and options add up to, checked; nothing behind it asks again
//! whether a number makes sense. All bounds live in [`Limits`], with their unit last in the name. Where the
//! contract says that 0 lifts a limit, it does so here.
//!
//! [`load`] is where they come from, `settings` what each may be.

pub mod load;
mod settings;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The effective settings, as `veche --print-config` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the server listens and keeps its files.
    pub server: ServerConfig,
    /// How messages are stored.
    pub journal: JournalConfig,
    /// Accounts, passwords and tokens.
    pub auth: AuthConfig,
    /// Every bound.
    pub limits: Limits,
    /// What the operator should know of how these were given, in sentences.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// Where the server listens and keeps its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// `HOST:PORT` to listen on; port 0 takes any free one.
    pub listen: String,
    /// Whether a busy port is an error, rather than a reason to try the next.
    pub strict_port: bool,
    /// The folder of accounts, sessions, history, key, log and control socket.
    pub data_dir: PathBuf,
    /// The log file; `DATA_DIR/veche.log` when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_file: Option<PathBuf>,
    /// The sentence that the `welcome` shows; at most 1 024 bytes.
    pub motd: String,
    /// Threads that hold the sockets; 0 takes one for every two cores.
    pub io_threads: usize,
    /// Whether to start although accounts cannot be read. Neither a setting of the file nor of the
    /// environment, but an option, for this once.
    #[serde(skip)]
    pub accept_loss: bool,
}

/// How messages are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JournalConfig {
    /// What a receipt promises to survive.
    pub durability: Durability,
    /// How long after the one before a batch begins, in milliseconds, while many people talk and it saves
    /// work ([`crate::chat::journal::linger`]); 0: at once, always.
    pub linger_ms: u64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        JournalConfig { durability: Durability::default(), linger_ms: 2 }
    }
}

/// What a receipt promises to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// A crash of the machine: every batch is forced to the disk before it is acknowledged.
    #[default]
    Fsync,
    /// A crash of the process: every batch is with the operating system before it is acknowledged.
    Os,
}

/// Accounts, passwords and tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Who may make an account.
    pub registration: Registration,
    /// The file with the key that seals the account file; `DATA_DIR/key` when not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Memory of one Argon2id hash, in KiB (OWASP recommends 19 456 with 2 passes).
    pub argon2_memory_kib: u32,
    /// Passes of one Argon2id hash.
    pub argon2_passes: u32,
    /// Password hashes that run at once; 0 takes half of the cores, at least one.
    pub hash_threads: usize,
    /// How long a session lives without a connection, in seconds.
    pub session_idle_seconds: u64,
    /// How long a session lives at most, in seconds. 0: none.
    pub session_max_seconds: u64,
}

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Everybody who can connect.
    #[default]
    Open,
    /// The operator alone.
    Closed,
}

/// Every bound of the server. Where the text says "0: none", 0 lifts it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The largest payload in either direction, in bytes.
    pub max_frame_bytes: usize,
    /// Bad frames that a connection may send before it is closed. 0: none.
    pub bad_frames: u32,
    /// Connections in all. 0: none.
    pub connections: usize,
    /// Connections from one address (IPv6: one /64). 0: none.
    pub connections_per_address: usize,
    /// Time from connecting to a session, in seconds. 0: none.
    pub login_timeout_seconds: u64,
    /// Time from a frame's first byte to its last, in seconds. 0: none.
    pub frame_timeout_seconds: u64,
    /// Silence after which a peer is pinged, in seconds; two unanswered pings end the connection. 0: none.
    pub ping_after_seconds: u64,
    /// How long a write may be blocked before the consumer counts as slow, in seconds. 0: none.
    pub write_timeout_seconds: u64,
    /// How long a closing connection may take to say goodbye, in seconds.
    pub close_timeout_seconds: u64,
    /// What may wait for one consumer, in bytes.
    pub outbox_bytes: usize,
    /// The kernel's send buffer for one connection, in bytes (Linux doubles it). 0: the system's default.
    pub socket_send_buffer_bytes: usize,
    /// The kernel's receive buffer for one connection, in bytes (Linux doubles it). 0: the system's default.
    pub socket_receive_buffer_bytes: usize,
    /// The kernel's send buffer for a connection without a session, in bytes, where it is set at all.
    pub stranger_send_buffer_bytes: usize,
    /// What is read from a connection before it is others' turn, in bytes.
    pub turn_bytes: usize,
    /// The same for a connection without a session; and how much of a frame, and of its replies, it may have
    /// waiting at any time, in bytes. Larger frames have their turns when there is room for them.
    pub stranger_bytes: usize,
    /// Room for the larger frames of all connections without a session, on each I/O thread, in bytes.
    pub strangers_frames_bytes: usize,
    /// The share of an I/O thread's time that all connections without a session get together, in percent; so
    /// do sessions that were refused for their pace a moment ago. 0: none.
    pub strangers_time_percent: u32,
    /// Connections that may wait to be taken over by an I/O thread; the port's backlog holds the others.
    pub newcomers: usize,
    /// Requests of one connection that may be unanswered at once; it is not read any further meanwhile.
    pub requests_in_flight: usize,
    /// Requests other than `say` and `tell` that a connection may make, a second. 0: none.
    pub requests_per_second: u32,
    /// Bytes of such a request that count as one.
    pub request_bytes: usize,
    /// Messages that an account may send, a second. 0: none.
    pub messages_per_second: u32,
    /// Rooms that an account may enter, a minute; so many at once, and never fewer than `rooms_per_session`.
    /// 0: none.
    pub joins_per_minute: u32,
    /// Rooms that an account may bring into being, a minute. 0: none.
    pub new_rooms_per_minute: u32,
    /// Rooms that a session may be in at once. 0: none.
    pub rooms_per_session: usize,
    /// Rooms with someone in them, in the whole server. 0: none.
    pub rooms: usize,
    /// The largest room, in accounts, that hears who comes and goes. 0: none.
    pub presence_members: usize,
    /// Messages of a room that are kept in memory for those who join.
    pub room_window_messages: usize,
    /// Login attempts from one address, a minute. 0: none.
    pub logins_per_minute: u32,
    /// New accounts from one address, a minute. 0: none.
    pub registrations_per_minute: u32,
    /// Changes of its password that an account may try, a minute. 0: none.
    pub password_changes_per_minute: u32,
    /// Sessions that an account may open or resume, a minute; so many at once, and never fewer than
    /// `sessions_per_account`. 0: none.
    pub sessions_opened_per_minute: u32,
    /// Wrong guesses at one account that reach the hash, an hour. 0: none.
    pub wrong_passwords_per_hour: u32,
    /// Password checks that may wait for a hash thread.
    pub hash_queue: usize,
    /// How long a password check may wait for a hash thread, in milliseconds; more are refused at once.
    pub hash_wait_ms: u64,
    /// Writes of accounts and sessions that may wait for the disk; more are refused with `rate_limited`.
    pub auth_queue_writes: usize,
    /// Sessions of one account. 0: none.
    pub sessions_per_account: usize,
    /// Tokens of one account that are remembered after they have died, so that its devices are known. 0: not
    /// any.
    pub devices_per_account: usize,
    /// How long they are remembered, in days.
    pub device_days: u32,
    /// Messages in one write of the journal.
    pub journal_batch_messages: usize,
    /// Messages that may wait for the journal; more are refused with `rate_limited`.
    pub journal_queue_messages: usize,
    /// Keys of one account that are remembered.
    pub keys_per_account: usize,
    /// How long a key is remembered, in seconds.
    pub key_seconds: u64,
    /// Lines of one kind that one address or account can make the log write, a minute; further ones are
    /// counted. 0: none.
    pub log_repeats_per_minute: u32,
    /// What all such lines of the log may take, a minute, in bytes. 0: none.
    pub log_repeats_bytes: usize,
    /// How large the log file may grow, in bytes: it is then renamed to end in `.1`, in place of the one before.
    /// 0: none.
    pub log_file_bytes: u64,
    /// What such lines of the log leave free on its disk, for the history, in bytes (but a twentieth of the disk
    /// at most).
    pub log_leaves_bytes: u64,
    /// Pages of history that are read at once.
    pub page_reads: usize,
    /// How long a stopping server waits for its clients to read what is theirs, in seconds.
    pub shutdown_seconds: u64,
}

/// A text is no `HOST:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a HOST:PORT, such as 127.0.0.1:7878, [::1]:7878 or localhost:0")]
pub struct ListenError;

/// Takes a `HOST:PORT` apart; an IPv6 address stands in brackets, which are not part of the host.
///
/// # Errors
/// [`ListenError`] when there is no host, or no port from 0 to 65 535.
pub fn parse_listen(text: &str) -> Result<(&str, u16), ListenError> {
    let (host, port) = text.rsplit_once(':').ok_or(ListenError)?;
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_reads = match in_brackets {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        }
    };
    if !host_reads || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ListenError);
    }
    Ok((in_brackets.unwrap_or(host), port.parse().map_err(|_| ListenError)?))
}

impl Config {
    /// The settings as a `veche.toml`.
    ///
    /// # Errors
    /// A path that is not UTF-8; no configuration that was loaded has one.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// The log file.
    pub fn log_file(&self) -> PathBuf {
        self.server.log_file.clone().unwrap_or_else(|| self.server.data_dir.join("veche.log"))
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            listen: "127.0.0.1:7878".into(),
            strict_port: false,
            data_dir: "data".into(),
            log_file: None,
            motd: "Welcome to the veche.".into(),
            io_threads: 0,
            accept_loss: false,
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig {
            registration: Registration::Open,
            key_file: None,
            argon2_memory_kib: 19_456,
            argon2_passes: 2,
            hash_threads: 0,
            session_idle_seconds: 30 * 24 * 60 * 60,
            session_max_seconds: 0,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_frame_bytes: crate::codec::DEFAULT_MAX_FRAME_BYTES,
            bad_frames: 20,
            connections: 10_000,
            connections_per_address: 1_000,
            login_timeout_seconds: 120,
            frame_timeout_seconds: 10,
            ping_after_seconds: 60,
            write_timeout_seconds: 4,
            close_timeout_seconds: 2,
            outbox_bytes: 512 * 1024,
            socket_send_buffer_bytes: 128 * 1024,
            socket_receive_buffer_bytes: 64 * 1024,
            stranger_send_buffer_bytes: 16 * 1024,
            turn_bytes: 16 * 1024,
            stranger_bytes: 4 * 1024,
            strangers_frames_bytes: 16 * 1024 * 1024,
            strangers_time_percent: 20,
            newcomers: 256,
            requests_in_flight: 256,
            requests_per_second: 1_000,
            request_bytes: 4 * 1024,
            messages_per_second: 20,
            joins_per_minute: 600,
            new_rooms_per_minute: 30,
            rooms_per_session: 500,
            rooms: 10_000,
            presence_members: 200,
            room_window_messages: 100,
            logins_per_minute: 60,
            registrations_per_minute: 30,
            password_changes_per_minute: 10,
            sessions_opened_per_minute: 300,
            wrong_passwords_per_hour: 20,
            hash_queue: 10_000,
            hash_wait_ms: 4_500,
            auth_queue_writes: 16_384,
            sessions_per_account: 100,
            devices_per_account: 32,
            device_days: 90,
            journal_batch_messages: 1_024,
            journal_queue_messages: 65_536,
            keys_per_account: 1_000,
            key_seconds: 120,
            log_repeats_per_minute: 10,
            log_repeats_bytes: 256 * 1024,
            log_file_bytes: 64 * 1024 * 1024,
            log_leaves_bytes: 64 * 1024 * 1024,
            page_reads: 16,
            shutdown_seconds: 4,
        }
    }
}
