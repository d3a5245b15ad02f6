//! What a client asks for.

use super::{MessageId, MessageKey, MessageText, Page, Password, RoomName, TermName, TokenText, UserName};

/// The longest page, in messages, names or rooms.
pub const MAX_PAGE: usize = 500;
/// The page that is meant when none is asked for.
pub const DEFAULT_PAGE: usize = 50;

macro_rules! kinds {
    ($($variant:ident => $name:literal),+ $(,)?) => {
        /// The requests there are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each is the request of that name in docs/protocol.md")]
        pub enum RequestKind { $($variant),+ }

        impl RequestKind {
            /// Every request, in the contract's order.
            pub const ALL: &'static [RequestKind] = &[$(RequestKind::$variant),+];

            /// The request of this `type`.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(RequestKind::$variant),)+ _ => None }
            }

            /// The `type`, as the wire carries it.
            pub fn name(self) -> &'static str {
                match self { $(RequestKind::$variant => $name),+ }
            }
        }
    };
}

kinds! {
    Identify => "identify", Register => "register", Login => "login", Resume => "resume", Join => "join",
    Leave => "leave", Say => "say", Tell => "tell", History => "history", Inbox => "inbox",
    Rooms => "rooms", Who => "who", Passwd => "passwd", Ping => "ping", Pong => "pong", Exit => "exit",
}

impl RequestKind {
    /// Whether this request is for a connection that has no session, and refused on one that has.
    pub fn opens_session(self) -> bool {
        matches!(self, RequestKind::Register | RequestKind::Login | RequestKind::Resume)
    }

    /// Whether this request is allowed on a connection without a session.
    pub fn needs_no_session(self) -> bool {
        self.opens_session() || self.needs_no_token() || self == RequestKind::Identify
    }

    /// Whether this request carries no token, even on a connection with a session.
    pub fn needs_no_token(self) -> bool {
        matches!(self, RequestKind::Ping | RequestKind::Pong | RequestKind::Exit)
    }
}

/// Whose past is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryOf {
    /// A room's.
    Room(RoomName),
    /// The direct messages between this account and that one.
    With(UserName),
}

/// A request, all of whose members are what they have to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the members are those of docs/protocol.md, one to one")]
pub enum Request {
    /// Is this name registered?
    Identify { name: UserName },
    /// Makes an account and opens a session.
    Register { name: UserName, password: Password },
    /// Opens a session.
    Login { name: UserName, password: Password, device: Option<TokenText> },
    /// Takes a session over.
    Resume { token: TokenText },
    /// Enters a room. `page` is `Newest` or `After`; `limit` is 0 to 500.
    Join { room: RoomName, page: Page, limit: usize, term: Option<TermName> },
    /// Leaves a room.
    Leave { room: RoomName },
    /// Speaks in a room.
    Say { room: RoomName, text: MessageText, key: Option<MessageKey> },
    /// Speaks to one account.
    Tell { to: UserName, text: MessageText, key: Option<MessageKey> },
    /// Reads a page of the past. `limit` is 1 to 500, here and below.
    History { of: HistoryOf, page: Page, limit: usize, term: Option<TermName> },
    /// Reads a page of the account's direct messages, from `after` on.
    Inbox { after: Option<MessageId>, limit: usize, term: Option<TermName> },
    /// Lists rooms, those sorted after a name.
    Rooms { after: Option<RoomName>, limit: usize },
    /// Lists who is online, in a room or anywhere.
    Who { room: Option<RoomName>, after: Option<UserName>, limit: usize },
    /// Changes the password.
    Passwd { old: Password, new: Password },
    /// Does the server live?
    Ping,
    /// This client lives.
    Pong,
    /// Ends the session.
    Exit,
}

impl Request {
    /// Which request this is.
    pub fn kind(&self) -> RequestKind {
        match self {
            Request::Identify { .. } => RequestKind::Identify,
            Request::Register { .. } => RequestKind::Register,
            Request::Login { .. } => RequestKind::Login,
            Request::Resume { .. } => RequestKind::Resume,
            Request::Join { .. } => RequestKind::Join,
            Request::Leave { .. } => RequestKind::Leave,
            Request::Say { .. } => RequestKind::Say,
            Request::Tell { .. } => RequestKind::Tell,
            Request::History { .. } => RequestKind::History,
            Request::Inbox { .. } => RequestKind::Inbox,
            Request::Rooms { .. } => RequestKind::Rooms,
            Request::Who { .. } => RequestKind::Who,
            Request::Passwd { .. } => RequestKind::Passwd,
            Request::Ping => RequestKind::Ping,
            Request::Pong => RequestKind::Pong,
            Request::Exit => RequestKind::Exit,
        }
    }
}
