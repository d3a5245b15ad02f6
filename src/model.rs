//! What everybody talks about: names, ids, texts, messages, requests, and why something is refused.
//!
//! This is the ground floor: it imports nothing else of the project, and everything else may import it. A
//! value that is here is *valid*: it was checked when it was made, and nobody checks it again.
//!
//! - [`names`]: who, where, which message, when;
//! - [`ids`]: which connection, which room, which request;
//! - [`text`]: what people say, and the marks that they put on it; [`secret`]: what nobody else is to see;
//! - [`message`]: where a message goes, what its receipt says, where a page of messages lies;
//! - [`request`]: what a client asks for; [`reply`]: what the server says;
//! - `account`, `session`: who has which, as they are kept; in a server alone;
//! - [`code`]: the codes for what goes wrong; [`refusal`]: one of them, with a sentence and a time.

#[cfg(feature = "server")]
pub mod account;
pub mod code;
pub mod ids;
pub mod message;
pub mod names;
pub mod refusal;
pub mod reply;
pub mod request;
pub mod secret;
#[cfg(feature = "server")]
pub mod session;
pub mod term;
pub mod text;

#[cfg(feature = "server")]
pub use account::{Account, AccountChange, AccountsByRow, MAX_ADDRESSES, SessionsFrom, StoredPassword};
pub use code::{ByeReason, ErrorCode};
pub use ids::{ConnectionId, IoThread, Member, ReplyTo, RoomId, Ticket};
pub use message::{
    Draft, MessageKind, MessageList, MessagePage, Page, PageQuery, Receipt, StoredMessage, Target,
};
pub use names::{
    FormerSpellings, MAX_MESSAGE_ID, MAX_ROOM_NAME_CHARS, MAX_USER_NAME_CHARS, MessageId, NameError,
    RoomName, Spellings, Timestamp, UserName,
};
pub use refusal::Refusal;
pub use reply::{Event, Keep, PresenceChange, Reply, SessionGrant, Welcome};
pub use request::{DEFAULT_PAGE, HistoryOf, MAX_PAGE, Request, RequestKind};
pub use secret::{PASSWORD_BYTES, Password, PasswordLengthError, TokenText};
#[cfg(feature = "server")]
pub use session::{Device, SessionEvent, SessionId, StoredSession, TOKEN_HASH_BYTES, TokenHash};
pub use term::{StoredTerm, TermName};
pub use text::{MAX_KEY_BYTES, MAX_REF_BYTES, MAX_TEXT_BYTES, MessageKey, MessageText, Reference, TextError};
