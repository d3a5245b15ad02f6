//! What can happen in a life: frames of every kind, good and bad, and all that others do to a connection.

use proptest::prelude::*;

use crate::chat::session::admission::IncomingRequest;
use crate::config::Limits;
use crate::model::{
    ByeReason, ErrorCode, HistoryOf, MessageText, Page, Password, Reference, Refusal, Request, RequestKind,
    RoomName, TokenHash, TokenText, UserName,
};

/// The token that a request shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shows {
    Fresh,
    Previous,
    Wrong,
    Nothing,
}

/// What a request's members are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Members {
    Good,
    OutOfRange,
    BadText,
}

#[derive(Debug, Clone)]
pub(super) enum Shape {
    NoRequest,
    Request { kind: RequestKind, shows: Shows, members: Members, room: usize },
}

/// What happens next.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A frame comes.
    Send(Shape, bool),
    /// The client ends its side.
    EndWriting,
    /// The stream breaks.
    Break,
    /// One of those who were asked answers.
    Answer {
        which: usize,
        good: bool,
    },
    /// The previous token is dead, or could not be put to death.
    PreviousDied(bool),
    /// Something is put out that is no reply.
    Deliver(usize),
    /// The socket takes so many frames more.
    Write(usize),
    LetGo(ByeReason),
    RoomCrashed(usize),
    Ticks(u32),
    Pass(u64),
    /// The server stops: requests are refused from now on.
    Stop,
    /// The session panics.
    Panic,
}

pub(super) fn shape() -> impl Strategy<Value = Shape> {
    let talk = prop_oneof![
        Just(RequestKind::Join),
        Just(RequestKind::Leave),
        Just(RequestKind::Say),
        Just(RequestKind::Tell),
        Just(RequestKind::Ping),
    ];
    let kind = prop_oneof![
        6 => talk,
        3 => prop::sample::select(vec![RequestKind::Login, RequestKind::Register, RequestKind::Resume]),
        3 => prop::sample::select(RequestKind::ALL).prop_filter("exit is rare", |kind| *kind != RequestKind::Exit),
        2 => Just(RequestKind::Exit),
    ];
    let shows = prop_oneof![
        12 => Just(Shows::Fresh), 2 => Just(Shows::Previous), 1 => Just(Shows::Wrong), 1 => Just(Shows::Nothing)
    ];
    let members =
        prop_oneof![14 => Just(Members::Good), 1 => Just(Members::OutOfRange), 1 => Just(Members::BadText)];
    let request = (kind, shows, members, 0..3_usize)
        .prop_map(|(kind, shows, members, room)| Shape::Request { kind, shows, members, room });
    prop_oneof![20 => request, 1 => Just(Shape::NoRequest)]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let reason = prop::sample::select(vec![
        ByeReason::Kicked,
        ByeReason::Resumed,
        ByeReason::ShuttingDown,
        ByeReason::Fault(ErrorCode::Internal),
        ByeReason::Fault(ErrorCode::SlowConsumer),
    ]);
    prop_oneof![
        40 => (shape(), any::<bool>()).prop_map(|(shape, marked)| Step::Send(shape, marked)),
        30 => (0..8_usize, prop::bool::weighted(0.85)).prop_map(|(which, good)| Step::Answer { which, good }),
        20 => (1..8_usize).prop_map(Step::Write),
        8 => (0..400_usize).prop_map(Step::Deliver),
        3 => any::<bool>().prop_map(Step::PreviousDied),
        2 => (0..200_u64).prop_map(Step::Pass),
        2 => (1..6_u32).prop_map(Step::Ticks),
        1 => (0..3_usize).prop_map(Step::RoomCrashed),
        2 => reason.prop_map(Step::LetGo),
        1 => Just(Step::EndWriting),
        1 => Just(Step::Break),
        1 => Just(Step::Stop),
        1 => Just(Step::Panic),
    ]
}

pub(super) fn limits() -> impl Strategy<Value = Limits> {
    let any_of = |values: &'static [u32]| prop::sample::select(values);
    (any_of(&[0, 3, 1_000]), any_of(&[0, 4, 1_000]), any_of(&[0, 1]), any_of(&[2, 5]), any_of(&[0, 1, 3]))
        .prop_map(|(requests, messages, rooms, bad_frames, login)| Limits {
            requests_per_second: requests,
            messages_per_second: messages,
            rooms_per_session: rooms as usize,
            bad_frames,
            login_timeout_seconds: login.into(),
            requests_in_flight: 4,
            outbox_bytes: OUTBOX_BYTES,
            stranger_bytes: OUTBOX_BYTES / 4,
            close_timeout_seconds: u64::from(TICKS_TO_GO) / 2,
            ..Limits::default()
        })
}

pub(super) const OUTBOX_BYTES: usize = 1_000;
/// How long one may take that is to go.
pub(super) const TICKS_TO_GO: u32 = 4;
/// What every frame but an event takes in the outbox.
pub(super) const FRAME_BYTES: usize = 40;

/// A frame on its way.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub number: usize,
    pub reference: Option<Reference>,
    pub shape: Shape,
}

/// A request as its wire reads it.
pub(super) struct Incoming {
    pub kind: RequestKind,
    pub reference: Option<Reference>,
    pub token: Option<TokenHash>,
    pub request: Result<Request, Refusal>,
}

impl IncomingRequest for Incoming {
    fn kind(&self) -> RequestKind {
        self.kind
    }

    fn reference(&self) -> Option<Reference> {
        self.reference.clone()
    }

    fn token(&self) -> Option<TokenHash> {
        self.token
    }

    fn request(&self) -> Result<Request, Refusal> {
        self.request.clone()
    }
}

pub(super) fn room_name(number: usize) -> RoomName {
    RoomName::parse(["red", "green", "blue"][number]).expect("a name")
}

pub(super) fn user() -> UserName {
    UserName::parse("ann").expect("a name")
}

pub(super) fn request(kind: RequestKind, room: usize) -> Request {
    let (name, room) = (user(), room_name(room));
    let password = Password::chosen("correct horse").expect("long enough");
    let text = MessageText::parse("hello").expect("a text");
    match kind {
        RequestKind::Identify => Request::Identify { name },
        RequestKind::Register => Request::Register { name, password },
        RequestKind::Login => Request::Login { name, password, device: None },
        RequestKind::Resume => Request::Resume { token: TokenText::new("T") },
        RequestKind::Join => Request::Join { room, page: Page::Newest, limit: 1, term: None },
        RequestKind::Leave => Request::Leave { room },
        RequestKind::Say => Request::Say { room, text, key: None },
        RequestKind::Tell => Request::Tell { to: name, text, key: None },
        RequestKind::History => {
            Request::History { of: HistoryOf::Room(room), page: Page::Newest, limit: 1, term: None }
        }
        RequestKind::Inbox => Request::Inbox { after: None, limit: 1, term: None },
        RequestKind::Rooms => Request::Rooms { after: None, limit: 1 },
        RequestKind::Who => Request::Who { room: None, after: None, limit: 1 },
        RequestKind::Passwd => Request::Passwd { old: password.clone(), new: password },
        RequestKind::Ping => Request::Ping,
        RequestKind::Pong => Request::Pong,
        RequestKind::Exit => Request::Exit,
    }
}

pub(super) fn is_exclusive(kind: RequestKind) -> bool {
    use RequestKind::{Ping, Pong, Say, Tell};
    !matches!(kind, Say | Tell | Ping | Pong)
}
