//! Binding the listening sockets: a busy port moves on to the next, unless it may not.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Socket, Type};

use super::reach;
use crate::config::parse_listen;

/// How many ports after a busy one are tried.
const PORTS_TO_TRY: u16 = 100;
/// Connections that the kernel keeps waiting; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

/// Why no socket could be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The setting is no address.
    #[error("cannot listen on `{0}`: it is no HOST:PORT; say --listen 127.0.0.1:7878, for example")]
    NoAddress(String),
    /// The host has no address here.
    #[error("cannot listen on {listen}: the host was not found ({error}); check its name")]
    Host {
        /// What was asked for.
        listen: String,
        /// What the system said.
        error: io::Error,
    },
    /// Somebody else has the port.
    #[error(
        "cannot listen on {listen}: the port is in use{}; stop what has it, or choose another with --listen",
        if *.tried > 0 { format!(", and so are the {tried} after it") } else { String::new() }
    )]
    Busy {
        /// What was asked for.
        listen: String,
        /// How many more ports were tried.
        tried: u16,
    },
    /// The system refuses for another reason.
    #[error("cannot listen on {listen}: {error}; check the address, and the right to use the port")]
    System {
        /// What was asked for.
        listen: String,
        /// What the system said.
        error: io::Error,
    },
}

/// A socket that is bound.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub listener: TcpListener,
    /// What to tell the operator about it.
    pub notes: Vec<String>,
}

/// Binds `HOST:PORT`. When the port is in use and `strict` is not asked for, up to 100 following ones are
/// tried. A host with several addresses is bound at the first that works.
///
/// # Errors
/// [`BindError`], a sentence that says what to do.
pub fn bind(listen: &str, strict: bool) -> Result<Bound, BindError> {
    let (host, port) = parse_listen(listen).map_err(|_| BindError::NoAddress(listen.to_owned()))?;
    let addresses: Vec<_> = (host, port)
        .to_socket_addrs()
        .map_err(|error| BindError::Host { listen: listen.to_owned(), error })?
        .collect();
    let tries = if strict || port == 0 { 0 } else { PORTS_TO_TRY.min(u16::MAX - port) };
    let mut last = None;
    for next in port..=port + tries {
        for address in &addresses {
            match bind_one(SocketAddr::new(address.ip(), next)) {
                Ok(listener) => return Ok(bound(listener, port, next, *address)),
                Err(error) => last = Some(error),
            }
        }
        if last.as_ref().is_none_or(|error| error.kind() != io::ErrorKind::AddrInUse) {
            break;
        }
    }
    Err(match last {
        Some(error) if error.kind() == io::ErrorKind::AddrInUse => {
            BindError::Busy { listen: listen.to_owned(), tried: tries }
        }
        Some(error) => BindError::System { listen: listen.to_owned(), error },
        None => BindError::Host { listen: listen.to_owned(), error: io::ErrorKind::NotFound.into() },
    })
}

/// The socket at the port `taken` in place of `wanted`, with what there is to say of it.
fn bound(listener: TcpListener, wanted: u16, taken: u16, address: SocketAddr) -> Bound {
    let mut notes = Vec::new();
    if taken != wanted {
        notes.push(format!(
            "{wanted} is in use, so this server listens on {taken}: clients have to be told; stop what has {wanted}, or \
             use --strict-port to make a busy port an error"
        ));
    }
    let place = listener.local_addr().unwrap_or(SocketAddr::new(address.ip(), taken));
    notes.extend(reach::about(place));
    Bound { listener, notes }
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A server that is started again need not wait for the old one's connections to be forgotten.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_moves_on_unless_it_may_not() {
        let first = bind("127.0.0.1:0", true).expect("some port is free");
        assert_eq!(first.notes, Vec::<String>::new());
        let taken = first.listener.local_addr().expect("bound");
        let second = bind(&taken.to_string(), false).expect("one of a hundred is free");
        let moved = second.listener.local_addr().expect("bound").port();
        assert!(second.notes[0].starts_with(&format!("{} is in use", taken.port())), "{:?}", second.notes);
        assert!(moved > taken.port() && moved <= taken.port() + PORTS_TO_TRY);
        let refused = bind(&taken.to_string(), true).expect_err("it is in use").to_string();
        assert!(refused.contains("in use; stop what has it"), "{refused}");
    }

    #[test]
    fn what_is_no_address_is_told() {
        assert!(matches!(bind("nonsense", false), Err(BindError::NoAddress(_))));
        let elsewhere = bind("203.0.113.1:0", false).expect_err("not an address of this machine");
        assert!(matches!(elsewhere, BindError::System { .. }));
    }
}
