//! A private sshd with its own keys and configuration, gone when dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use flinkctl::agent::AgentClient;
use flinkctl::ssh::{Binary, Connector, ConnectorSettings, HostConnection, SshTarget};

pub(crate) struct Sshd {
    child: Child,
    pub(crate) port: u16,
    pub(crate) dir: tempfile::TempDir,
}

impl Sshd {
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// An sshd with further lines of configuration; `DIR` in them stands for its directory, `PORT` for its port.
    pub(crate) fn with(config: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("sshd.").tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for key in ["host_key", "id", "other_id"] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(path(key)));
        }
        fs::copy(path("id.pub"), path("authorized_keys")).unwrap();
        // sshd insists on this directory when root starts it, though nothing here uses it.
        let _unprivileged = fs::create_dir_all("/run/sshd");
        let here = dir.path().display().to_string();
        let config = config.replace("DIR", &here);
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = config.replace("PORT", &port.to_string());
            let text = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {here}/host_key\nAuthorizedKeysFile {here}/authorized_keys\n\
                 PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 PermitRootLogin yes\n{config}\n"
            );
            fs::write(path("sshd_config"), text).unwrap();
            let mut child = Command::new("/usr/sbin/sshd")
                .args(["-D", "-e", "-f"])
                .arg(path("sshd_config"))
                .stdin(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("openssh-server is installed");
            let mut log = BufReader::new(child.stderr.take().unwrap());
            let mut line = String::new();
            log.read_line(&mut line).unwrap();
            if line.contains("Server listening") {
                std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
                return Self { child, port, dir };
            }
            // Somebody took the port in between.
            child.kill().unwrap();
            child.wait().unwrap();
        }
        panic!("sshd does not start");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A base directory below the fixture's.
    pub(crate) fn base(&self) -> String {
        self.path("base").display().to_string()
    }

    pub(crate) fn target(&self, name: &str) -> SshTarget {
        let mut target = SshTarget::new(name, "127.0.0.1");
        target.port = Some(self.port);
        target.identity_file = Some(self.path("id"));
        target.known_hosts = Some(self.path("known_hosts"));
        target.config_file = Some("/dev/null".into());
        target
    }

    /// A connector whose control sockets can be looked at.
    pub(crate) fn connector(&self) -> Connector {
        Connector::new(self.settings())
    }

    pub(crate) fn settings(&self) -> ConnectorSettings {
        let control = self.path("control");
        ConnectorSettings {
            helper: env!("CARGO_BIN_EXE_flinkctl").into(),
            control_directory: Some(control),
            ..ConnectorSettings::default()
        }
    }

    pub(crate) fn control_sockets(&self) -> usize {
        fs::read_dir(self.path("control")).map_or(0, Iterator::count)
    }

    pub(crate) async fn connect(&self) -> HostConnection {
        self.connector().connect(&self.target("tm01")).await.unwrap()
    }

    pub(crate) async fn agent(&self) -> (HostConnection, AgentClient) {
        let connection = self.connect().await;
        let agent = connection.agent(binary(), &self.base(), |_| {}).await.unwrap();
        (connection, agent)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // A child that has ended already is as good.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// The binary under test. Hashed once: a debug build is large and its SHA-256 slow.
pub(crate) fn binary() -> &'static Binary {
    static BINARY: OnceLock<Binary> = OnceLock::new();
    BINARY.get_or_init(|| {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("digests");
        Binary::of(Path::new(env!("CARGO_BIN_EXE_flinkctl")), Some(&cache)).unwrap()
    })
}

/// A small program that can be uploaded in place of flinkctl.
pub(crate) fn small_binary(dir: &Path) -> Binary {
    let file = dir.join("true");
    fs::copy("/bin/true", &file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    Binary::of(&file, None).unwrap()
}

pub(crate) fn run(command: &mut Command) {
    let status = command.stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// Waits for a condition of the machine that gives no signal.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{what}: still not after 10s"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process exists whose command line contains the text.
pub(crate) fn runs(text: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let own = entry.file_name().to_str() == Some(&std::process::id().to_string());
        !own && String::from_utf8_lossy(&cmdline).replace('\0', " ").contains(text)
    })
}
