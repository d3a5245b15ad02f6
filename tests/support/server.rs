//! The server as an operator has it: a process with a data directory, a standard input, and a log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::program::{self, Ended};
use super::{Client, PASSWORD, PATIENCE, eventually};

/// The program under test.
pub const VECHE: &str = env!("CARGO_BIN_EXE_veche");

/// Settings of every test's server: weak hashes, since a test is no attack, and no limits that a busy test
/// would meet. Tests of limits set their own.
pub const SETTINGS: [&str; 7] = [
    "auth.argon2_memory_kib=64",
    "auth.argon2_passes=1",
    "limits.logins_per_minute=0",
    "limits.registrations_per_minute=0",
    "limits.messages_per_second=0",
    "limits.requests_per_second=0",
    // Many tests stop the server while clients are there that do not hang up.
    "limits.close_timeout_seconds=1",
];

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    settings: Vec<String>,
    arguments: Vec<String>,
    listen: Option<String>,
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Options {
    /// Everything as [`Server::start`] has it.
    pub fn new() -> Self {
        Options::default()
    }

    /// Sets one setting, as `KEY=VALUE`.
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.into());
        self
    }

    /// Adds an argument.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Listens elsewhere than on a free port of the loopback address.
    pub fn listen(mut self, listen: &str) -> Self {
        self.listen = Some(listen.into());
        self
    }

    /// Starts the server by another program, which gets the server's command line behind its own arguments.
    pub fn wrapped_in(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Sets an environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts a server on a fresh data directory.
    pub fn start(self) -> Server {
        let dir = tempfile::tempdir().expect("a temporary directory");
        self.start_in(Arc::new(dir))
    }

    /// Starts a server in this directory, on the data directory `data` there.
    pub fn start_in(self, dir: Arc<TempDir>) -> Server {
        match self.try_start_in(&dir) {
            Ok(server) => server,
            Err((status, stderr)) => panic!("the server did not start ({status}): {stderr}"),
        }
    }

    /// Like [`Options::start_in`]; when the server ends before it listens, its exit status and its standard
    /// error.
    pub fn try_start_in(self, dir: &Arc<TempDir>) -> Result<Server, (ExitStatus, String)> {
        let mut child = self.command(&dir.path().join("data")).spawn().expect("the server's binary starts");
        let stdin = child.stdin.take();
        let lines = read_lines(child.stdout.take().expect("a pipe"));
        let (stderr, stderr_ends) = collect(child.stderr.take().expect("a pipe"));
        let mut server = Server {
            child,
            stdin,
            lines,
            stderr,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            dir: Arc::clone(dir),
            options: self,
        };
        match server.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                let address = line.strip_prefix("listening on ").and_then(|rest| rest.parse().ok());
                server.address = address.unwrap_or_else(|| panic!("no line of a listener: {line:?}"));
                Ok(server)
            }
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the server does not say where it listens"),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = server.wait();
                stderr_ends.join().expect("it only reads");
                Err((status, server.stderr()))
            }
        }
    }

    /// The command line of the server on this data directory, with pipes, in the folder above it.
    pub fn command(&self, data_dir: &Path) -> Command {
        let mut command = match self.wrapper.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(VECHE);
                command
            }
            None => Command::new(VECHE),
        };
        let listen = self.listen.as_deref().unwrap_or("127.0.0.1:0");
        command.args(["--listen", listen]).arg("--data-dir").arg(data_dir).args(&self.arguments);
        for setting in SETTINGS.iter().copied().chain(self.settings.iter().map(String::as_str)) {
            command.args(["--set", setting]);
        }
        command.current_dir(data_dir.parent().expect("a folder above"));
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A running server. It is killed when this goes.
pub struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    /// Where it listens.
    pub address: SocketAddr,
    /// The folder that holds its data directory.
    pub dir: Arc<TempDir>,
    options: Options,
}

impl Server {
    /// A server with the tests' settings on a fresh data directory.
    pub fn start() -> Self {
        Options::new().start()
    }

    /// A server with these settings besides, each `KEY=VALUE`.
    pub fn with(settings: &[&str]) -> Self {
        settings.iter().fold(Options::new(), |options, setting| options.set(setting)).start()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    // ------------------------------------------------------------ clients

    /// A connection that has read its `welcome`.
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A new account, in session.
    pub fn register(&self, name: &str) -> Client {
        let mut client = self.connect();
        client.open("register", name, PASSWORD);
        client
    }

    /// A further session of an account.
    pub fn login(&self, name: &str) -> Client {
        self.login_with(name, PASSWORD)
    }

    /// A session of an account that has a password of its own.
    pub fn login_with(&self, name: &str, password: &str) -> Client {
        let mut client = self.connect();
        client.open("login", name, password);
        client
    }

    /// A new account that has joined a room.
    pub fn member(&self, name: &str, room: &str) -> Client {
        let mut client = self.register(name);
        client.join(room);
        client
    }

    // ------------------------------------------------------------ the operator

    /// Runs `veche` beside the server, on its data directory.
    pub fn veche(&self, arguments: &[&str], input: &str) -> Ended {
        program::veche(&self.data_dir(), arguments, input)
    }

    /// Types a command at the console; what it answers, all lines of it.
    pub fn console(&mut self, command: &str) -> String {
        self.type_line(command);
        // The end of an answer is not marked; what an unknown command answers is a mark that nothing else says.
        self.type_line("end-of-answer");
        let mut answer = Vec::new();
        loop {
            let line = self.console_line();
            if line.contains("There is no command \"end-of-answer\"") {
                return answer.join("\n");
            }
            answer.push(line);
        }
    }

    /// Types a line without waiting for an answer.
    pub fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("the input is still open");
        writeln!(stdin, "{line}").expect("the server reads its input");
    }

    /// The next line of standard output.
    pub fn console_line(&self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(why) => panic!("no line from the console ({why}); its log:\n{}", self.log()),
        }
    }

    /// Ends the console's input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// What the log file holds.
    pub fn log(&self) -> String {
        let path = self.data_dir().join("veche.log");
        // Some tests put a pipe in its place.
        let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
        let bytes = if is_file { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until a line of the log contains all these words; the line.
    pub fn log_line(&self, words: &[&str]) -> String {
        eventually(&format!("a line in the log with {words:?}"), || {
            let log = self.log();
            let found = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
            found.map(str::to_owned)
        })
    }

    /// What it has written to standard error.
    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("nobody panics with it").clone()
    }

    // ------------------------------------------------------------ the end

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the server is our child");
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the server is our child") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end; its log:\n{}", self.log());
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the server is our child").is_none()
    }

    /// Stops it as a service manager does; it has to end well.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "SIGTERM: {status}; its log:\n{}", self.log());
    }

    /// Ends it with SIGKILL, as a crash does.
    pub fn crash(&mut self) {
        self.child.kill().expect("the server is our child");
        self.wait();
    }

    /// Starts a server on the same data directory, with the same options, when this one has ended.
    pub fn start_again(&self) -> Server {
        self.options.clone().start_in(Arc::clone(&self.dir))
    }

    /// Stops it and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        *self = self.start_again();
    }

    /// Kills it and starts it again.
    pub fn crash_and_restart(&mut self) {
        self.crash();
        *self = self.start_again();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let panicked = self.log().lines().any(|line| line.contains("panic"));
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(15).collect();
            eprintln!("the end of the server's log, newest first:\n{}\n{}", tail.join("\n"), self.stderr());
        } else {
            assert!(!panicked, "an actor panicked; the log:\n{}\n{}", self.log(), self.stderr());
        }
    }
}

fn read_lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (lines, reader) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    reader
}

fn collect(output: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&text);
    let reader = thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            let mut text = into.lock().expect("nobody panics with it");
            text.push_str(&line);
            text.push('\n');
        }
    });
    (text, reader)
}
