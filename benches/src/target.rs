//! The servers: how each is started with its flood limits lifted, and stopped.
//!
//! The peers' configurations are files in `benches/peers`, with `{PORT}` and `{DIR}` to fill in. Each server
//! starts with an empty folder of its own and is ended when its [`Running`] is dropped.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::error::BenchError;
use crate::instructions::InstructionCounter;
use crate::wire::{Wire, floor::Floor, irc::Irc, mqtt::Mqtt, nats::Nats, veche::Veche};

/// How long a server may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to end when asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// A server that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// The cheapest program that does the same socket work.
    Floor,
    /// Veche as it comes, every batch forced to the disk.
    Veche,
    /// An older Veche, named with `--veche-old`.
    VecheOld,
    /// Veche with `journal.durability = "os"`.
    VecheOs,
    /// The older one with it.
    VecheOldOs,
    /// The same program as [`Target::Veche`] once more, beside an older one: what a program differs from itself.
    VecheAgain,
    /// The same with it.
    VecheAgainOs,
    /// ngIRCd.
    Ngircd,
    /// InspIRCd.
    Inspircd,
    /// Ergo.
    Ergo,
    /// NATS.
    Nats,
    /// Mosquitto.
    Mosquitto,
}

/// All of them, in the order in which they are measured and shown.
pub const ALL: [Target; 12] = [
    Target::Floor,
    Target::Veche,
    Target::VecheOld,
    Target::VecheAgain,
    Target::VecheOs,
    Target::VecheOldOs,
    Target::VecheAgainOs,
    Target::Ngircd,
    Target::Inspircd,
    Target::Ergo,
    Target::Nats,
    Target::Mosquitto,
];

/// A version, the older one that it is compared with, and itself once more.
pub const VERSIONS: [[Target; 3]; 2] = [
    [Target::Veche, Target::VecheOld, Target::VecheAgain],
    [Target::VecheOs, Target::VecheOldOs, Target::VecheAgainOs],
];

/// These targets, in the order in which they are measured; where both versions of Veche are among them, the newer
/// one once more.
pub fn chosen(named: &[Target]) -> Vec<Target> {
    let is_chosen = |target: &Target| {
        let again = VERSIONS.iter().find(|[.., again]| again == target);
        named.contains(target)
            || again.is_some_and(|[new, old, _]| named.contains(new) && named.contains(old))
    };
    ALL.into_iter().filter(is_chosen).collect()
}

/// Where things are, and what every server gets.
#[derive(Debug, Clone)]
pub struct Place {
    /// The server program of Veche.
    pub veche: PathBuf,
    /// An older one to compare it with.
    pub veche_old: Option<PathBuf>,
    /// A folder for the servers' files; it decides what an fsync costs.
    pub scratch: PathBuf,
    /// The `--set` options for Veche, [`LIFTED`] among them, that both programs know.
    pub set: Vec<String>,
    /// Whether instructions are counted.
    pub counts_instructions: bool,
}

/// The settings of Veche that are lifted: floods alone, and hashes that the set-up would wait for.
pub const LIFTED: [&str; 7] = [
    "limits.messages_per_second=0",
    "limits.registrations_per_minute=0",
    "limits.logins_per_minute=0",
    "limits.connections_per_address=0",
    "limits.login_timeout_seconds=0",
    "auth.argon2_memory_kib=8",
    "auth.argon2_passes=1",
];

impl Target {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Target::Floor => "floor",
            Target::Veche => "veche",
            Target::VecheOld => "veche-old",
            Target::VecheOs => "veche-os",
            Target::VecheOldOs => "veche-old-os",
            Target::VecheAgain => "veche-again",
            Target::VecheAgainOs => "veche-again-os",
            Target::Ngircd => "ngircd",
            Target::Inspircd => "inspircd",
            Target::Ergo => "ergo",
            Target::Nats => "nats",
            Target::Mosquitto => "mosquitto",
        }
    }

    /// Whether it is Veche, of whatever version.
    pub fn is_veche(self) -> bool {
        VERSIONS.iter().flatten().any(|veche| *veche == self)
    }

    /// Whether its receipts promise no more than the operating system does.
    fn is_os(self) -> bool {
        VERSIONS[1].contains(&self)
    }

    /// How many clients may be on their way in at once. InspIRCd lets those in that have gathered, once a
    /// second; ngIRCd has a backlog of ten, and whoever does not fit waits for a second.
    pub fn entering(self) -> usize {
        match self {
            Target::Inspircd => 500,
            Target::Ngircd => 8,
            _ => 64,
        }
    }

    /// How to talk to it.
    pub fn wire(self) -> Box<dyn Wire> {
        match self {
            Target::Floor => Box::new(Floor),
            veche if veche.is_veche() => Box::new(Veche::default()),
            Target::Nats => Box::new(Nats),
            Target::Mosquitto => Box::new(Mqtt),
            _ => Box::new(Irc),
        }
    }

    /// Its program, where it is installed.
    pub fn program(self, place: &Place) -> Option<PathBuf> {
        match self {
            Target::Floor => std::env::current_exe().ok(),
            Target::Veche | Target::VecheOs => place.veche.is_file().then(|| place.veche.clone()),
            Target::VecheOld | Target::VecheOldOs => place.veche_old.clone().filter(|old| old.is_file()),
            Target::VecheAgain | Target::VecheAgainOs => {
                place.veche_old.as_ref().and_then(|_| Target::Veche.program(place))
            }
            Target::Nats => installed("nats-server"),
            peer => installed(peer.name()),
        }
    }

    /// What its program says its version is, in one line.
    pub fn version(self, place: &Place) -> Option<String> {
        let flag = if self == Target::Mosquitto { "-h" } else { "--version" };
        let output = Command::new(self.program(place)?).arg(flag).stdin(Stdio::null()).output().ok()?;
        let line = String::from_utf8_lossy(&output.stdout).lines().next()?.trim().to_owned();
        (!line.is_empty()).then_some(line)
    }

    /// Starts it with an empty folder, and waits until it can be connected to.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start(self, place: &Place) -> Result<Running, BenchError> {
        let dir = tempfile::Builder::new()
            .prefix("veche-bench-")
            .tempdir_in(&place.scratch)
            .map_err(BenchError::doing(format!("make a folder in {}", place.scratch.display())))?;
        self.start_in(place, dir)
    }

    /// Starts it with this folder.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start_in(self, place: &Place, dir: TempDir) -> Result<Running, BenchError> {
        let program = self.program(place).ok_or_else(|| {
            let hint = "build Veche with `cargo build --release`, install peers with the system's packages";
            BenchError::Server(format!("{} is not there; {hint}", self.name()))
        })?;
        let port = free_port()?;
        let mut command = Command::new(program);
        self.arguments(&mut command, place, dir.path(), port)?;
        let output = dir.path().join("output.txt");
        let file = File::create(&output).map_err(BenchError::doing("keep the server's output"))?;
        let errors = file.try_clone().map_err(BenchError::doing("keep the server's output"))?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors).current_dir(dir.path());
        let child = command.spawn().map_err(BenchError::doing(format!("start {}", self.name())))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut running = Running { target: self, child, address, output, dir: Some(dir), counter: None };
        if place.counts_instructions {
            running.counter = Some(InstructionCounter::of(running.pid())?);
        }
        running.wait_until_it_listens()?;
        Ok(running)
    }

    fn arguments(
        self,
        command: &mut Command,
        place: &Place,
        dir: &Path,
        port: u16,
    ) -> Result<(), BenchError> {
        let listen = format!("127.0.0.1:{port}");
        let configured = |name: &str, text: &str| -> Result<PathBuf, BenchError> {
            let path = dir.join(name);
            let text = text.replace("{PORT}", &port.to_string()).replace("{DIR}", &dir.to_string_lossy());
            fs::write(&path, text).map_err(BenchError::doing(format!("write {name}")))?;
            Ok(path)
        };
        match self {
            Target::Floor => {
                command.args(["floor", "--listen", &listen]);
            }
            Target::Veche
            | Target::VecheOld
            | Target::VecheAgain
            | Target::VecheOs
            | Target::VecheOldOs
            | Target::VecheAgainOs => {
                command.args(["--strict-port", "--listen", &listen, "--data-dir"]).arg(dir.join("data"));
                let os = self.is_os().then_some("journal.durability=os");
                for setting in place.set.iter().map(String::as_str).chain(os) {
                    command.args(["--set", setting]);
                }
            }
            Target::Ngircd => {
                let path = configured("ngircd.conf", include_str!("../peers/ngircd.conf"))?;
                command.arg("--nodaemon").arg("--config").arg(path);
            }
            Target::Inspircd => {
                let path = configured("inspircd.conf", include_str!("../peers/inspircd.conf"))?;
                command.args(["--nofork", "--nopid", "--runasroot", "--config"]).arg(path);
            }
            Target::Ergo => {
                let path = configured("ergo.yaml", include_str!("../peers/ergo.yaml"))?;
                command.args(["run", "--quiet", "--conf"]).arg(path);
            }
            Target::Nats => {
                command.arg("-c").arg(configured("nats.conf", include_str!("../peers/nats.conf"))?);
            }
            Target::Mosquitto => {
                command.arg("-c").arg(configured("mosquitto.conf", include_str!("../peers/mosquitto.conf"))?);
            }
        }
        Ok(())
    }
}

/// A server that runs. Dropped, it is asked to end, and made to.
#[derive(Debug)]
pub struct Running {
    /// What it is.
    pub target: Target,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    output: PathBuf,
    dir: Option<TempDir>,
    /// Counts its instructions, where that was asked for.
    pub counter: Option<InstructionCounter>,
}

impl Running {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().map_or(Path::new(""), TempDir::path)
    }

    /// What it has printed.
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default() // then there is nothing to show
    }

    /// Ends it and keeps its folder, for another start.
    ///
    /// # Errors
    /// It cannot be ended.
    pub fn stop(mut self) -> Result<TempDir, BenchError> {
        self.end().map_err(BenchError::doing(format!("end {}", self.target.name())))?;
        self.dir.take().ok_or_else(|| BenchError::Server("its folder is gone".into()))
    }

    fn wait_until_it_listens(&mut self) -> Result<(), BenchError> {
        let start = Instant::now();
        let says_so = self.target == Target::Floor || self.target.is_veche();
        while start.elapsed() < START_PATIENCE {
            let ended = self.child.try_wait().map_err(BenchError::doing("look after the server"))?;
            if let Some(status) = ended {
                let name = self.target.name();
                return Err(BenchError::Server(format!("{name} ended with {status}: {}", self.printed())));
            }
            let listens = match says_so {
                true => self.printed().contains("listening on "),
                false => TcpStream::connect(self.address).is_ok(),
            };
            if listens {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2)); // a poll with a deadline, no wait for luck
        }
        Err(BenchError::Server(format!("{} does not listen: {}", self.target.name(), self.printed())))
    }

    fn end(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        let start = Instant::now();
        while start.elapsed() < STOP_PATIENCE {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5)); // a poll with a deadline
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end(); // it is gone already, or the system will not let us
    }
}

/// Of these settings, `KEY=VALUE` each, those that all the programs know; what one does not know, none gets, or
/// two versions would be measured under different limits. What is left out is told on standard error.
///
/// # Errors
/// A program cannot be asked.
pub fn known_to_all(settings: Vec<String>, programs: &[&Path]) -> Result<Vec<String>, BenchError> {
    let known = programs.iter().map(|program| settings_of(program)).collect::<Result<Vec<_>, _>>()?;
    let (common, others): (Vec<_>, Vec<_>) = settings.into_iter().partition(|setting| {
        let key = setting.split('=').next().unwrap_or_default().trim();
        known.iter().all(|keys| keys.contains(key))
    });
    if !others.is_empty() {
        eprintln!("veche-bench: not set, since not both versions know it: {}", others.join(", "));
    }
    Ok(common)
}

/// The names of a version's settings.
fn settings_of(program: &Path) -> Result<BTreeSet<String>, BenchError> {
    let name = program.display();
    let folder = tempfile::tempdir().map_err(BenchError::doing("make a folder"))?;
    let mut command = Command::new(program);
    let ours = std::env::vars_os().map(|(name, _)| name);
    ours.filter(|name| name.to_string_lossy().starts_with("VECHE_")).for_each(|name| {
        command.env_remove(name);
    });
    let output = command.arg("--print-config").current_dir(folder.path()).output();
    let output = output.map_err(BenchError::doing(format!("ask {name} for its settings")))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BenchError::Server(format!("{name} does not tell its settings: {why}")));
    }
    Ok(names_in(&String::from_utf8_lossy(&output.stdout)))
}

fn names_in(toml: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut names = BTreeSet::new();
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((name, _)) = line.split_once('=') {
            names.insert(format!("{section}.{}", name.trim()));
        }
    }
    names
}

/// The program of this name in the folders where servers are.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// A port that nobody has at the moment.
fn free_port() -> Result<u16, BenchError> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok(listener.map_err(BenchError::doing("find a free port"))?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_compared_runs_twice() {
        use Target::{Floor, Veche, VecheAgain, VecheOld, VecheOs};
        assert_eq!(chosen(&[VecheOld, Veche, Floor]), [Floor, Veche, VecheOld, VecheAgain]);
        assert_eq!(chosen(&[VecheOs, VecheOld, Floor]), [Floor, VecheOld, VecheOs]);
    }

    #[test]
    fn the_names_of_settings_are_read_with_their_sections() {
        let names = names_in("[server]\nlisten = \"a=b\"\n\n[limits]\nrooms = 7\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["limits.rooms", "server.listen"]);
    }
}
