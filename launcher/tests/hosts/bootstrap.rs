//! The binary's way to the host, over hostile login shells and disks.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use flinkctl::agent::protocol::ProbeRequest;
use flinkctl::ssh::{Binary, BootstrapFailure, Connector, ConnectorSettings, SshTarget};
use tokio::io::AsyncReadExt;

use crate::fixture::{Sshd, binary, eventually, small_binary};

fn stored(base: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(base.join("blobs/sha256")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn cold_host_gets_the_binary_once() {
    let sshd = Sshd::start();
    let connection = sshd.connect().await;
    let seen = Mutex::new(Vec::new());
    let agent = connection
        .agent(binary(), &sshd.base(), |progress| seen.lock().unwrap().push(progress))
        .await
        .unwrap();
    assert_eq!(agent.hello().base, sshd.base());
    agent.close().await;
    let steps = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(steps.first().map(|step| step.sent), Some(0));
    assert_eq!(
        steps.last().map(|step| (step.sent, step.size)),
        Some((binary().size(), binary().size()))
    );
    let agent = connection
        .agent(binary(), &sshd.base(), |progress| seen.lock().unwrap().push(progress))
        .await
        .unwrap();
    agent.close().await;
    assert!(seen.lock().unwrap().is_empty(), "a warm host needs no upload");
    let base = sshd.path("base");
    assert_eq!(stored(&base), [binary().digest().to_string()]);
    let blob = base.join("blobs/sha256").join(binary().digest().to_string());
    assert_eq!(fs::metadata(&blob).unwrap().permissions().mode() & 0o777, 0o500);
    assert_eq!(fs::metadata(&base).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_cut_blob_is_sent_again() {
    let sshd = Sshd::start();
    let (connection, agent) = sshd.agent().await;
    agent.close().await;
    let blob = sshd.path("base/blobs/sha256").join(binary().digest().to_string());
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o700)).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&blob)
        .unwrap()
        .set_len(100)
        .unwrap();
    let agent = connection.agent(binary(), &sshd.base(), |_| {}).await.unwrap();
    agent.close().await;
    assert_eq!(fs::metadata(&blob).unwrap().len(), binary().size());
}

#[tokio::test]
async fn odd_base_directories_work() {
    let sshd = Sshd::start();
    let connection = sshd.connect().await;
    for name in ["a b", "it's", "$HOME", "\"q\" \\ `id` *", "-n", "ü"] {
        let base = format!("{}/{name}", sshd.dir.path().display());
        let program = small_binary(sshd.dir.path());
        let mut running = connection
            .program(&program, &base, &["a b", "it's"], |_| {})
            .await
            .unwrap();
        let mut rest = Vec::new();
        running.reader.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
        assert_eq!(stored(base.as_ref()), [program.digest().to_string()], "{name}");
    }
}

#[tokio::test]
async fn chatty_login_files_do_no_harm() {
    // What a login shell prints before it runs the command, without a newline at the end.
    let sshd = Sshd::with(
        "ForceCommand sh -c 'echo Welcome to vm; seq 100000; printf hello; echo oops >&2; exec sh -c \"$SSH_ORIGINAL_COMMAND\"'",
    );
    let (connection, agent) = sshd.agent().await;
    agent.probe(ProbeRequest::default()).await.unwrap();
    agent.close().await;
    connection.close().await;
}

#[tokio::test]
async fn an_endless_banner_and_a_shell_that_says_goodbye() {
    let sshd = Sshd::with("ForceCommand yes");
    let connection = sshd.connect().await;
    let error = connection.agent(binary(), &sshd.base(), |_| {}).await.unwrap_err();
    assert_eq!(error.failure, BootstrapFailure::Noise);
    assert_eq!(error.code(), "ssh.bootstrap");

    let sshd = Sshd::with("ForceCommand echo 'This account is not available.' >&2");
    let connection = sshd.connect().await;
    let error = connection.agent(binary(), &sshd.base(), |_| {}).await.unwrap_err();
    assert_eq!(
        error.failure,
        BootstrapFailure::Closed("This account is not available.".to_owned())
    );
}

/// Whatever shell `sh` is, block-reading or not, no byte of the payload may reach it as script.
#[tokio::test]
async fn both_kinds_of_shells_take_the_payload_exactly() {
    for shell in ["dash", "bash"] {
        let sshd = Sshd::with(&format!("ForceCommand exec {shell} -s"));
        let (connection, agent) = sshd.agent().await;
        agent.probe(ProbeRequest::default()).await.unwrap();
        agent.close().await;
        connection.close().await;
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_stays() {
    // The session sees a file system of 1 MiB as its base, and tells what is left there when it ends.
    let sshd = Sshd::with(
        "ForceCommand mkdir -p DIR/base; exec unshare --map-root-user --mount sh -c \
         'mount -t tmpfs -o size=1m none DIR/base; sh -s; ls -A DIR/base/blobs/sha256 >DIR/left; touch DIR/ended'",
    );
    let connection = sshd.connect().await;
    let error = connection.agent(binary(), &sshd.base(), |_| {}).await.unwrap_err();
    assert_eq!(error.code(), "host.disk-full", "{error}");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    eventually("the session ended", || sshd.path("ended").exists()).await;
    assert_eq!(fs::read_to_string(sshd.path("left")).unwrap(), "");
}

#[tokio::test]
async fn an_interrupted_upload_leaves_nothing() {
    let sshd = Sshd::start();
    let connection = sshd.connect().await;
    let begun = tokio::sync::Notify::new();
    let base = sshd.base();
    let uploading = connection.agent(binary(), &base, |progress| {
        if progress.sent > 0 {
            begun.notify_one();
        }
    });
    {
        tokio::pin!(uploading);
        tokio::select! {
            result = &mut uploading => panic!("{result:?}"),
            () = begun.notified() => assert_eq!(stored(&sshd.path("base")).len(), 1, "the temporary file"),
        }
    }
    connection.close().await;
    eventually("the temporary file is removed", || {
        stored(&sshd.path("base")).is_empty()
    })
    .await;
}

#[tokio::test]
async fn an_unwritable_base_is_told() {
    let sshd = Sshd::start();
    let connection = sshd.connect().await;
    fs::write(sshd.path("file"), "").unwrap();
    let base = sshd.path("file").join("base");
    let error = connection
        .agent(binary(), base.to_str().unwrap(), |_| {})
        .await
        .unwrap_err();
    assert_eq!(error.code(), "host.read-only", "{error}");
}

#[tokio::test]
async fn another_machine_is_refused_before_the_upload() {
    let sshd = Sshd::start();
    let file = sshd.path("foreign");
    let mut bytes = fs::read("/bin/true").unwrap();
    // e_machine: 183 = aarch64, 62 = x86-64.
    bytes[18] = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    fs::write(&file, bytes).unwrap();
    let foreign = Binary::of(&file, None).unwrap();
    let connection = sshd.connect().await;
    let error = connection
        .agent(&foreign, &sshd.base(), |_| panic!("uploads"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "binary.incompatible", "{error}");
    assert!(!sshd.path("base").exists());
}

#[tokio::test]
async fn a_binary_that_is_no_agent_is_noticed() {
    let sshd = Sshd::start();
    let connection = sshd.connect().await;
    let error = connection
        .agent(&small_binary(sshd.dir.path()), &sshd.base(), |_| {})
        .await
        .unwrap_err();
    assert!(matches!(error.failure, BootstrapFailure::NotExecuted(_)), "{error:?}");
}

#[tokio::test]
async fn this_machine_is_driven_the_same_way() {
    let dir = tempfile::tempdir().unwrap();
    let connector = Connector::new(ConnectorSettings::default());
    let connection = connector.connect(&SshTarget::new("here", "localhost")).await.unwrap();
    let base = dir.path().join("base");
    let agent = connection
        .agent(binary(), base.to_str().unwrap(), |_| {})
        .await
        .unwrap();
    let facts = agent.probe(ProbeRequest::default()).await.unwrap();
    assert_eq!(facts.arch, std::env::consts::ARCH);
    agent.close().await;
    assert_eq!(stored(&base), [binary().digest().to_string()]);
}
