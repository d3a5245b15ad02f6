//! The modes of the terminal: taken at the beginning, given back at the end, and its size.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::termios::{self, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

use super::screen::Size;

/// The size that is taken where the terminal does not tell its own.
const DEFAULT_SIZE: Size = Size { cells: 80, rows: 24 };

const BRACKETED_PASTE_ON: &str = "\x1b[?2004h";
const BRACKETED_PASTE_OFF: &str = "\x1b[?2004l";

/// The terminal's modes as they were found and as they are wanted.
#[derive(Clone)]
pub struct Modes {
    found: Termios,
    wanted: Termios,
    /// Whether it understands how to move its cursor.
    pub moves: bool,
    /// Whether it is known to fold its rows anew when it becomes narrower.
    pub reflows: bool,
    /// Whether a question stands on the screen.
    asking: Arc<AtomicBool>,
}

impl Modes {
    /// Looks at the terminal that standard input is.
    ///
    /// # Errors
    /// When it is none.
    pub fn find() -> std::io::Result<Self> {
        let found = termios::tcgetattr(std::io::stdin())?;
        let kind = std::env::var("TERM").unwrap_or_default();
        let moves = !matches!(kind.as_str(), "" | "dumb" | "unknown");
        Ok(Modes { wanted: wanted(&found), found, moves, reflows: reflows(&kind), asking: Arc::default() })
    }

    /// Takes the terminal; gives what is to be written to it.
    ///
    /// # Errors
    /// When it takes no modes.
    pub fn take(&self) -> std::io::Result<&'static str> {
        termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.wanted)?;
        Ok(if self.moves { BRACKETED_PASTE_ON } else { "" })
    }

    /// Gives the terminal back for now, to a shell say.
    pub fn lend(&self) {
        self.give_back(OptionalActions::Now);
    }

    /// Notes whether a question stands on the screen.
    pub fn set_asking(&self, asking: bool) {
        self.asking.store(asking, Ordering::Relaxed);
    }

    fn give_back(&self, when: OptionalActions) {
        let off = if self.moves { BRACKETED_PASTE_OFF } else { "" };
        // Below the line that is being typed.
        let end = if self.asking.load(Ordering::Relaxed) { "\n" } else { "" };
        let _ = std::io::stdout().write_all(format!("{off}{end}").as_bytes());
        let _ = std::io::stdout().flush();
        let _ = termios::tcsetattr(std::io::stdin(), when, &self.found);
    }
}

/// The terminal's state before the program began.
pub struct Restorer {
    /// What is to be given back.
    pub modes: Modes,
}

impl Restorer {
    /// Puts the terminal back as it was found, below the line that is being typed, if one is.
    pub fn restore(&self) {
        // What is typed for a question of ours, a password perhaps, is no command for the shell.
        self.modes.give_back(OptionalActions::Flush);
    }
}

/// Keys come one by one, none is echoed, and none is a signal.
fn wanted(found: &Termios) -> Termios {
    let mut wanted = found.clone();
    wanted.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
    wanted.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::IXON;
    wanted.special_codes[SpecialCodeIndex::VMIN] = 1;
    wanted.special_codes[SpecialCodeIndex::VTIME] = 0;
    wanted
}

/// How large the terminal is.
pub fn size() -> Size {
    let told = termios::tcgetwinsize(std::io::stdout()).ok();
    let known = told.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    known.map_or(DEFAULT_SIZE, |size| Size { cells: size.ws_col.into(), rows: size.ws_row.into() })
}

/// Whether a terminal of this kind folds its rows anew when it becomes narrower. Most do; one that is not
/// known may cut them off, and then what stands above would be rubbed out.
fn reflows(kind: &str) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if set("TMUX") || kind.starts_with("tmux") {
        return true;
    }
    !kind.starts_with("screen")
        && (["alacritty", "foot", "xterm-kitty", "xterm-ghostty"].contains(&kind)
            || ["VTE_VERSION", "KONSOLE_VERSION", "WT_SESSION", "TERM_PROGRAM", "KITTY_WINDOW_ID"]
                .iter()
                .any(|name| set(name)))
}
