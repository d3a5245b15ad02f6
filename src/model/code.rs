//! Why something was refused, and why a connection ended: the codes, and a sentence for each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a request was refused, or why a connection was ended. The wire carries it in snake case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The frame is no request: not JSON, a member missing, of the wrong type, out of range, …
    BadRequest,
    /// The frame announces more than `max_frame`.
    FrameTooLarge,
    /// There is no request of this `type`.
    UnknownType,
    /// Too many bad frames on one connection.
    TooManyErrors,
    /// This needs a session, and the connection has none.
    Unauthenticated,
    /// The connection has a session already.
    AlreadyInSession,
    /// The token is missing, wrong or dead.
    BadToken,
    /// This is no user name.
    BadName,
    /// The name is an account already, looks like one, or is the operator's.
    NameTaken,
    /// The operator has closed registration.
    RegistrationClosed,
    /// The chosen password does not meet the rules.
    BadPassword,
    /// Wrong password, or no such account.
    WrongPassword,
    /// The operator has banned the account.
    Banned,
    /// This is no room name.
    BadRoom,
    /// The session is not in that room.
    NotInRoom,
    /// No account has that name.
    NoSuchAccount,
    /// The text is empty or has a character that may not be sent.
    BadText,
    /// The text is over 4 096 bytes.
    TextTooLong,
    /// Too much at once; `retry_after_ms` tells when it will do.
    RateLimited,
    /// Too many attempts to log in; `retry_after_ms` tells when it will do.
    TooManyAttempts,
    /// Too many connections, in all or from this address.
    ServerFull,
    /// The connection did not log in within the time for it.
    LoginTimeout,
    /// The peer was silent for too long.
    IdleTimeout,
    /// The peer does not read what it is sent.
    SlowConsumer,
    /// The server stops.
    ShuttingDown,
    /// The disk could not take it; the outcome is unknown.
    StorageUnavailable,
    /// A fault of the server's own.
    Internal,
}

/// Why the server ends a connection, as `bye` carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByeReason {
    /// The fault that an `error` told before.
    Fault(ErrorCode),
    /// The client asked for it.
    Exit,
    /// Another connection took the session over.
    Resumed,
    /// The session's time is over.
    Expired,
    /// The operator, or a changed password, ended the session.
    Kicked,
    /// The server stops.
    ShuttingDown,
}

impl ErrorCode {
    /// Every code there is, in the contract's order.
    pub const ALL: [ErrorCode; 27] = [
        ErrorCode::BadRequest,
        ErrorCode::FrameTooLarge,
        ErrorCode::UnknownType,
        ErrorCode::TooManyErrors,
        ErrorCode::Unauthenticated,
        ErrorCode::AlreadyInSession,
        ErrorCode::BadToken,
        ErrorCode::BadName,
        ErrorCode::NameTaken,
        ErrorCode::RegistrationClosed,
        ErrorCode::BadPassword,
        ErrorCode::WrongPassword,
        ErrorCode::Banned,
        ErrorCode::BadRoom,
        ErrorCode::NotInRoom,
        ErrorCode::NoSuchAccount,
        ErrorCode::BadText,
        ErrorCode::TextTooLong,
        ErrorCode::RateLimited,
        ErrorCode::TooManyAttempts,
        ErrorCode::ServerFull,
        ErrorCode::LoginTimeout,
        ErrorCode::IdleTimeout,
        ErrorCode::SlowConsumer,
        ErrorCode::ShuttingDown,
        ErrorCode::StorageUnavailable,
        ErrorCode::Internal,
    ];

    /// The code as the wire carries it.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorCode::BadRequest => "bad_request",
            ErrorCode::FrameTooLarge => "frame_too_large",
            ErrorCode::UnknownType => "unknown_type",
            ErrorCode::TooManyErrors => "too_many_errors",
            ErrorCode::Unauthenticated => "unauthenticated",
            ErrorCode::AlreadyInSession => "already_in_session",
            ErrorCode::BadToken => "bad_token",
            ErrorCode::BadName => "bad_name",
            ErrorCode::NameTaken => "name_taken",
            ErrorCode::RegistrationClosed => "registration_closed",
            ErrorCode::BadPassword => "bad_password",
            ErrorCode::WrongPassword => "wrong_password",
            ErrorCode::Banned => "banned",
            ErrorCode::BadRoom => "bad_room",
            ErrorCode::NotInRoom => "not_in_room",
            ErrorCode::NoSuchAccount => "no_such_account",
            ErrorCode::BadText => "bad_text",
            ErrorCode::TextTooLong => "text_too_long",
            ErrorCode::RateLimited => "rate_limited",
            ErrorCode::TooManyAttempts => "too_many_attempts",
            ErrorCode::ServerFull => "server_full",
            ErrorCode::LoginTimeout => "login_timeout",
            ErrorCode::IdleTimeout => "idle_timeout",
            ErrorCode::SlowConsumer => "slow_consumer",
            ErrorCode::ShuttingDown => "shutting_down",
            ErrorCode::StorageUnavailable => "storage_unavailable",
            ErrorCode::Internal => "internal",
        }
    }

    /// A sentence for a person, where the place that refuses has no better one.
    pub fn sentence(self) -> &'static str {
        match self {
            ErrorCode::BadRequest => "This is not a request that Veche understands.",
            ErrorCode::FrameTooLarge => "This frame is larger than the server takes.",
            ErrorCode::UnknownType => "There is no request of this type.",
            ErrorCode::TooManyErrors => "Too many frames on this connection were no requests.",
            ErrorCode::Unauthenticated => "Log in, register or resume a session first.",
            ErrorCode::AlreadyInSession => "This connection has a session already; exit first.",
            ErrorCode::BadToken => "The token is missing, wrong or no longer valid.",
            ErrorCode::BadName => {
                "A name is 1 to 32 letters, digits and - _ . of one alphabet, and begins with a letter or digit."
            }
            ErrorCode::NameTaken => "This name is taken, or looks like one that is.",
            ErrorCode::RegistrationClosed => "New accounts are made by the operator here.",
            ErrorCode::BadPassword => "A password has 8 to 256 bytes.",
            ErrorCode::WrongPassword => "Name and password do not match.",
            ErrorCode::Banned => "The operator has banned this account.",
            ErrorCode::BadRoom => {
                "A room is 1 to 50 letters, digits and - _ . of one alphabet, and begins with a letter or digit."
            }
            ErrorCode::NotInRoom => "Join the room first.",
            ErrorCode::NoSuchAccount => "There is no account of this name.",
            ErrorCode::BadText => "A text is not empty and has no control characters but newline and tab.",
            ErrorCode::TextTooLong => "A text has at most 4096 bytes.",
            ErrorCode::RateLimited => "Too much at once; wait a moment.",
            ErrorCode::TooManyAttempts => "Too many attempts; wait before the next.",
            ErrorCode::ServerFull => "The server has as many connections as it takes; try again later.",
            ErrorCode::LoginTimeout => "Nobody logged in on this connection in time.",
            ErrorCode::IdleTimeout => "Nothing was heard from this connection for too long.",
            ErrorCode::SlowConsumer => "This connection does not read what it is sent.",
            ErrorCode::ShuttingDown => "The server is shutting down.",
            ErrorCode::StorageUnavailable => {
                "The server could not store this, or could not tell; send it again with the same key."
            }
            ErrorCode::Internal => "The server failed at this; its log says why.",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ByeReason {
    /// The reason as the wire carries it.
    pub fn as_str(self) -> &'static str {
        match self {
            ByeReason::Fault(code) => code.as_str(),
            ByeReason::Exit => "exit",
            ByeReason::Resumed => "resumed",
            ByeReason::Expired => "expired",
            ByeReason::Kicked => "kicked",
            ByeReason::ShuttingDown => "shutting_down",
        }
    }

    /// A sentence for a person, where the place that says goodbye has no better one.
    pub fn sentence(self) -> &'static str {
        match self {
            ByeReason::Fault(code) => code.sentence(),
            ByeReason::Exit => "Goodbye.",
            ByeReason::Resumed => "Another connection has taken this session over.",
            ByeReason::Expired => "This session has ended with its time; log in again.",
            ByeReason::Kicked => "This session was ended.",
            ByeReason::ShuttingDown => "The server is shutting down.",
        }
    }

    /// The `error` that goes before the `bye`, when there was a fault.
    pub fn fault(self) -> Option<ErrorCode> {
        match self {
            ByeReason::Fault(code) => Some(code),
            _ => None,
        }
    }
}
