//! The server through its public door: every test here starts the real binary and talks to it over a socket,
//! its standard input, its files or signals.
//!
//! Which file proves which numbered line of the demands (issue 2, "What has to work"); each test names its
//! line once more in a comment:
//!
//! | lines | file |
//! | --- | --- |
//! | 1, 2 | [`framing`]: connections of all kinds, frames whole, split, joined and broken |
//! | 3 | [`requests`]: every request, `ref`, the order of replies and of checks; [`codes`]: every error code |
//! | 4, 7 | [`sessions`]: exit, pings, tokens and what kills them |
//! | 5, 6, 8 | [`accounts`]: who is who, passwords, and what lies on the disk; [`keyfile`]: the key |
//! | 9 | [`talking`]: order, direct messages, presence, lists |
//! | 10–12 | [`journal`]: the files of the history; [`pages`]: reading the past; [`keys`]: once and only once |
//! | 10, 12, 18 | [`crash`]: kill -9 under load, and the order of write, fsync and acknowledgement |
//! | 13–18 | [`operating`]: listening, pausing, stopping, signals; [`console`]: commands and the log |
//! | 15 | [`terminal`]: the console at a terminal |
//! | 19 | [`settings`]: where settings come from |
//! | 20, 21 | [`clients`]: the bundled client and the netcat helper against this server |
//! | issue 7 | [`promises`]: what is acknowledged, over several lives and on a disk that fails |
//! | issue 7 | [`neighbours`]: what strangers and neighbours may cost the others; [`lockout`]: who locks whom out |
//! | issue 7 | [`operators`]: what hurts operators |
//! | issue 7 | [`names`]: look-alikes, case, and names from before; [`terms`]: histories that were put back |
//! | issue 7 | [`person`]: the bundled client at a terminal |
//! | issue 7 | [`netcat`]: what the netcat helper waits for and says |
//! | issue 7 | [`screens`]: what others send, on the screens of both clients |
//! | issue 8 | [`old_data`]: the data directory of an older version |
//! | all | [`one_message`]: one message by its raw bytes, to read before everything else |
//!
//! Run all with `cargo test --test veche`, one file with `cargo test --test veche talking::`.

mod support;

mod accounts;
mod clients;
mod codes;
mod console;
mod crash;
mod framing;
mod journal;
mod keyfile;
mod keys;
mod lockout;
mod names;
mod neighbours;
mod netcat;
mod old_data;
mod one_message;
mod operating;
mod operators;
mod pages;
mod person;
mod promises;
mod requests;
mod screens;
mod sessions;
mod settings;
mod talking;
mod terminal;
mod terms;
mod tidy;
